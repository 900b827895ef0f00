// The agents of a Contemplating run: who thinks, what each answers, who agrees with whom, who was stopped.

import { memo, useMemo, useState, type ReactElement } from "react";

import type { ImagePart, Purpose } from "../data/events";
import { campsOf, isOver, looksOf, type Agent, type Camp, type Look, type Run } from "../data/run";
import { useSay, type Say } from "../words";
import { Icon } from "./icons";
import { Looks, useHot } from "./looks";
import { Steps } from "./steps";

export function Board({ run, pictures, keepsSight }: {
  run: Run;
  pictures: readonly ImagePart[];
  keepsSight: boolean; // the picture has its place before anybody has looked, so that nothing moves when they do
}): ReactElement {
  const say = useSay();
  const camps = useMemo(() => campsOf(run), [run]);
  const looks = useMemo(() => run.agents.flatMap((agent) => looksOf(agent, pictures.length)), [run.agents, pictures.length]);
  const [openId, setOpenId] = useState<string | null>(null);
  const hasSight = looks.length > 0 || (keepsSight && pictures.length > 0);
  return (
    <div className={`board${hasSight ? " has-looks" : ""}`}>
      {hasSight && <Looks pictures={pictures} looks={looks} isCrowd keepsLast={keepsSight} />}
      <div className="board-side">
        <Agreement run={run} camps={camps} say={say} />
        <div className="rounds">
          {stagesOf(run).map(({ purpose, agents }) => (
            <section key={agents[0]!.id} className="round" aria-label={purpose ? say(`round_${purpose}`) : say("board")}>
              <h3 className="round-name">{purpose ? say(`round_${purpose}`) : say("board")}</h3>
              <ul className="agents">
                {agents.map((agent) => (
                  <AgentRow key={agent.id} agent={agent} camp={camps.findIndex((camp) => camp.agents.includes(agent))}
                    looks={looks.filter((look) => look.agent.id === agent.id)} isOpen={openId === agent.id}
                    isLive={!isOver(run)} onOpen={() => setOpenId(openId === agent.id ? null : agent.id)} />
                ))}
              </ul>
            </section>
          ))}
        </div>
      </div>
    </div>
  );
}

/** Agents by what they are asked for; groups that propose one after another are one stage. */
function stagesOf(run: Run): { purpose: Purpose | undefined; agents: Agent[] }[] {
  const found: { purpose: Purpose | undefined; agents: Agent[] }[] = [];
  for (const agent of run.agents) {
    const purpose = run.rounds.find((one) => one.round === agent.round)?.purpose;
    const last = found.at(-1);
    if (last && last.purpose === purpose) last.agents.push(agent);
    else found.push({ purpose, agents: [agent] });
  }
  return found;
}

const SHOWN_CAMPS = 2;
const LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";

function Agreement({ run, camps, say }: { run: Run; camps: readonly Camp[]; say: Say }): ReactElement {
  const weight = (camp: Camp) => camp.weight ?? camp.agents.length;
  const total = camps.reduce((sum, camp) => sum + weight(camp), 0);
  return (
    <section className="agreement" aria-label={say("agreement")} aria-live="polite">
      <div className="agreement-bar" aria-hidden="true">
        {camps.map((camp, place) => (
          <span key={camp.answer} className={`camp-${Math.min(place, 3)}`} style={{ flexGrow: total ? weight(camp) / total : 1 }} />
        ))}
      </div>
      <p className="muted small agreement-note" title={say("leaderHint")}>
        {[
          ...(camps.length > SHOWN_CAMPS ? [say("otherAnswers", { n: camps.length - SHOWN_CAMPS })] : []),
          ...(run.probability === null ? [] : [say("leaderStays", { p: say.percent(run.probability) })]),
        ].join(" · ") || "\u00a0"}
      </p>
      <ul className="camps">
        {camps.slice(0, SHOWN_CAMPS).map((camp, place) => (
          <li key={camp.answer}>
            <span className={`camp-letter camp-${Math.min(place, 3)}`} aria-hidden="true">{LETTERS[place]}</span>
            <span className="camp-answer">{camp.answer}</span>
            <span className="muted small">{say("agreeing", { n: camp.agents.length })}</span>
          </li>
        ))}
        {camps.length === 0 && <li className="muted">{say("noAnswerYet")}</li>}
      </ul>
    </section>
  );
}

const AgentRow = memo(function AgentRow({ agent, camp, looks, isOpen, isLive, onOpen }: {
  agent: Agent;
  camp: number;
  looks: readonly Look[];
  isOpen: boolean;
  isLive: boolean;
  onOpen: () => void;
}): ReactElement {
  const say = useSay();
  const { isHot, handlers } = useHot(looks.map((look) => look.key));
  const tokens = agent.ledger ? agent.ledger.thought_tokens + agent.ledger.answer_tokens : null;
  const isWorking = agent.ended === null;
  return (
    <li className={`agent agent-${agent.doing}${isHot ? " hot" : ""}`} {...handlers}>
      <button type="button" className="agent-row" aria-expanded={isOpen} onClick={onOpen}>
        <span className="hidden">{say("openAgent", { n: agent.number })}</span>
        <span className="agent-number">{agent.number}</span>
        <span className="agent-what">
          <span className="agent-line">{agent.error ?? (agent.answer || say(`doing_${agent.doing}`, { tool: agent.tool }))}</span>
          <span className="agent-role">
            {say(`role_${agent.role}`)}
            {tokens !== null && ` · ${say("tokens", { n: tokens })}`}
            {agent.ledger && ` · ${say.seconds(agent.ledger.seconds)}`}
          </span>
        </span>
        {agent.confidence !== null && (
          <span className="agent-sure" title={say("confidenceHint")}>{say.percent(agent.confidence)}</span>
        )}
        <span className="agent-mark" aria-hidden="true">
          {isWorking && isLive ? <span className="pulse" /> : agent.doing === "cut" || agent.doing === "failed" ? <Icon name="close" size={14} />
            : camp >= 0 ? <span className={`camp-letter camp-${Math.min(camp, 3)}`}>{LETTERS[camp]}</span> : <Icon name="check" size={14} />}
        </span>
      </button>
      {isOpen && <div className="agent-steps"><Steps agent={agent} looks={looks} isLive={isLive && isWorking} /></div>}
    </li>
  );
});
