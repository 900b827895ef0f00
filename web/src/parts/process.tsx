// How an answer came about: one line that opens. Open while it happens; the thought folds away when the answer begins.

import { useMemo, useRef, useState, type ReactElement } from "react";

import type { ImagePart } from "../data/events";
import { isOver, looksOf, type Run } from "../data/run";
import { useSay, type Say } from "../words";
import { Board } from "./board";
import { useSeconds } from "./clock";
import { Icon } from "./icons";
import { HotScope, Looks } from "./looks";
import { Steps } from "./steps";

export function Process({ run, pictures, isNew }: {
  run: Run;
  pictures: readonly ImagePart[];
  isNew: boolean; // of the turn that is read now: shown open where there is something to look at
}): ReactElement {
  const say = useSay();
  const seconds = useSeconds(run);
  const isCrowd = run.mode === "contemplating" || run.agents.some((agent) => agent.role !== "solo");
  const looks = useMemo(
    () => (isCrowd ? [] : run.agents.flatMap((agent) => looksOf(agent, pictures.length))), [isCrowd, run.agents, pictures.length],
  );
  const hasSteps = isCrowd ? run.agents.length > 0 : run.agents.some((agent) => agent.steps.length > 0);
  const hasSights = isCrowd || looks.length > 0;
  const [wish, setWish] = useState<boolean | null>(null);
  const wasLive = useRef(false);
  const wasFirst = useRef(false);
  // What was opened for the reader stays open when the next question comes.
  wasLive.current ||= !isOver(run);
  wasFirst.current ||= isNew || wasLive.current;
  const keepsSight = wasLive.current && run.tools.includes("zoom");
  // Pictures stay to be looked at; mere words of thought make room for the answer.
  const opensByItself = isOver(run) || run.hasAnswered ? hasSights && wasFirst.current : true;
  const isOpen = hasSteps && (wish ?? opensByItself);
  return (
    <HotScope>
      <section className={`process${isOver(run) ? "" : " is-live"}`}>
        <button type="button" className="process-head" aria-expanded={isOpen} disabled={!hasSteps} onClick={() => setWish(!isOpen)}>
          <Icon name={run.mode === "contemplating" ? "team" : run.mode === "instant" ? "bolt" : "thought"} size={16} />
          <span className="process-what">{headline(run, seconds, say)}</span>
          {hasSteps && <Icon name="down" size={14} />}
        </button>
        {isOpen && (
          <div className="process-body">
            {isCrowd ? <Board run={run} pictures={pictures} keepsSight={keepsSight} /> : (
              <div className={hasSights || (keepsSight && pictures.length > 0) ? "sight has-looks" : "sight"}>
                {(hasSights || (keepsSight && pictures.length > 0)) && <Looks pictures={pictures} looks={looks} isCrowd={false} keepsLast={keepsSight} />}
                {run.agents.map((agent) => <Steps key={agent.id} agent={agent} looks={looks} isLive={!isOver(run)} />)}
              </div>
            )}
          </div>
        )}
      </section>
    </HotScope>
  );
}

function headline(run: Run, seconds: number, say: Say): string {
  const numLooks = run.ledger?.looks ?? run.agents.reduce((sum, agent) => sum + looksOf(agent, 99).length, 0);
  const extra = [
    ...(run.agents.length > 1 ? [say("agents", { n: run.agents.length })] : []),
    ...((run.ledger?.rounds ?? 0) > 1 ? [say("rounds", { n: run.ledger!.rounds })] : []),
    ...(numLooks ? [say("looks", { n: numLooks })] : []),
  ];
  if (isOver(run)) {
    const name = run.mode === "contemplating" ? "contemplatedFor" : run.mode === "instant" ? "answeredIn" : "thoughtFor";
    return [say(name, { s: say.seconds(seconds) }), ...extra].join(" · ");
  }
  const working = run.agents.find((agent) => agent.ended === null);
  const doing = run.hasAnswered ? say("answeringNow") : !working || working.doing === "starting" ? say("startingUp")
    : working.doing === "looking" ? say("lookingNow") : working.doing === "using" ? say("usingNow", { tool: working.tool })
    : run.mode === "instant" ? say("answeringNow") : say("thinkingNow");
  return [doing, say.seconds(Math.max(0, seconds)), ...extra, ...(run.quiet >= 5 ? [say("quiet")] : [])].join(" · ");
}
