// The agents of a Contemplating run: who thinks, what each answers, who agrees with whom, who was stopped.

import { memo, useMemo, useState, type ReactElement } from "react";

import type { ImagePart } from "../data/events";
import { campsOf, isOver, looksOf, type Agent, type Camp, type Look, type Run } from "../data/run";
import { useSay, type Say } from "../words";
import { Icon } from "./icons";
import { Looks, useHot } from "./looks";
import { Steps } from "./steps";

export function Board({ run, pictures }: { run: Run; pictures: readonly ImagePart[] }): ReactElement {
  const say = useSay();
  const camps = useMemo(() => campsOf(run), [run]);
  const looks = useMemo(() => run.agents.flatMap((agent) => looksOf(agent, pictures.length)), [run.agents, pictures.length]);
  const [openId, setOpenId] = useState<string | null>(null);
  const byRound = [...new Set(run.agents.map((agent) => agent.round))];
  return (
    <div className={`board${looks.length ? " has-looks" : ""}`}>
      {pictures.length > 0 && looks.length > 0 && <Looks pictures={pictures} looks={looks} isCrowd />}
      <div className="board-side">
        <Agreement run={run} camps={camps} say={say} />
        {byRound.map((round) => {
          const purpose = run.rounds.find((one) => one.round === round)?.purpose;
          return (
            <section key={round} className="round" aria-label={purpose ? say(`round_${purpose}`) : say("board")}>
              <h3 className="round-name">{purpose ? say(`round_${purpose}`) : say("board")}</h3>
              <ul className="agents">
                {run.agents.filter((agent) => agent.round === round).map((agent) => (
                  <AgentRow key={agent.id} agent={agent} camp={camps.findIndex((camp) => camp.agents.includes(agent))}
                    looks={looks.filter((look) => look.agent.id === agent.id)} isOpen={openId === agent.id}
                    isLive={!isOver(run)} onOpen={() => setOpenId(openId === agent.id ? null : agent.id)} />
                ))}
              </ul>
            </section>
          );
        })}
      </div>
    </div>
  );
}

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
      <ul className="camps">
        {camps.slice(0, 4).map((camp, place) => (
          <li key={camp.answer}>
            <span className={`camp-letter camp-${Math.min(place, 3)}`} aria-hidden="true">{LETTERS[place]}</span>
            <span className="camp-answer">{camp.answer}</span>
            <span className="muted small">{say("agreeing", { n: camp.agents.length })}</span>
          </li>
        ))}
        {camps.length === 0 && <li className="muted">{say("noAnswerYet")}</li>}
      </ul>
      <p className="muted small agreement-note" title={say("leaderHint")}>
        {run.probability === null ? "\u00a0" : say("leaderStays", { p: say.percent(run.probability) })}
      </p>
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
      <button type="button" className="agent-row" aria-expanded={isOpen} aria-label={say("openAgent", { n: agent.number })} onClick={onOpen}>
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
