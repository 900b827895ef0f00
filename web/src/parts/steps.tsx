// What one agent did, step by step: thought, looks with their crops, tools with what they gave back.

import { memo, useEffect, useRef, type ReactElement } from "react";

import type { ImagePart, Part } from "../data/events";
import { boxOf, type Agent, type Look, type ToolUse } from "../data/run";
import { useSay } from "../words";
import { Icon } from "./icons";
import { useHot } from "./looks";
import { Picture } from "./picture";

export const Steps = memo(function Steps({ agent, looks, isLive }: {
  agent: Agent;
  looks: readonly Look[];
  isLive: boolean;
}): ReactElement {
  const say = useSay();
  return (
    <ol className="steps">
      {agent.steps.map((step, place) => {
        const isLast = isLive && place === agent.steps.length - 1;
        if (step.kind === "tool") {
          const look = looks.find((one) => one.use.call.id === step.use.call.id);
          return (
            <li key={place} className="step">
              {look ? <LookCard look={look} /> : <ToolCard use={step.use} />}
            </li>
          );
        }
        const next = agent.steps[place + 1];
        const led = next?.kind === "tool" ? looks.find((one) => one.use.call.id === next.use.call.id) : undefined;
        return (
          <li key={place} className={`step step-${step.kind}`}>
            {step.kind === "said" && <span className="step-name">{say("said")}</span>}
            <Thought text={step.text} isLive={isLast} lookKey={led?.key} />
          </li>
        );
      })}
    </ol>
  );
});

/** A stretch of thought in a box of bounded height, which follows its own end while it grows. */
function Thought({ text, isLive, lookKey }: { text: string; isLive: boolean; lookKey: string | undefined }): ReactElement {
  const box = useRef<HTMLDivElement>(null);
  const { isHot, handlers } = useHot(lookKey ? [lookKey] : []);
  useEffect(() => {
    if (isLive && box.current) box.current.scrollTop = box.current.scrollHeight;
  }, [text, isLive]);
  return (
    <div ref={box} className={`thought${isHot ? " hot" : ""}`} {...(lookKey ? handlers : {})}
      tabIndex={text.length > 600 ? 0 : undefined}>
      {text}
    </div>
  );
}

function LookCard({ look }: { look: Look }): ReactElement {
  const say = useSay();
  const { isHot, handlers } = useHot([look.key]);
  return (
    <div className={`look-card${isHot ? " hot" : ""}`} tabIndex={0} {...handlers} aria-label={say("look", { n: look.number })} role="group">
      <div className="look-crop">
        {look.crop ? <Picture part={look.crop} alt={say("crop", { n: look.number })} /> : <span className="picture-wait" />}
      </div>
      <div className="look-text">
        <span className="look-name"><Icon name="eye" size={15} />{say("look", { n: look.number })}</span>
        <span className="muted small">
          {look.crop ? `${look.crop.width} × ${look.crop.height}` : say("toolRunning")}
          {look.use.isDone && look.use.seconds >= 0.05 && ` · ${say.seconds(look.use.seconds)}`}
        </span>
      </div>
    </div>
  );
}

function ToolCard({ use }: { use: ToolUse }): ReactElement {
  const say = useSay();
  const given = argumentsOf(use);
  const state = use.approval === "refused" ? say("toolRefused") : use.isError ? say("toolFailed")
    : use.approval === "asked" && !use.isDone ? say("toolAsked") : use.isDone ? say.seconds(use.seconds) : say("toolRunning");
  return (
    <details className={`tool-card${use.isError ? " is-error" : ""}`}>
      <summary>
        <Icon name={boxOf(use.call) ? "eye" : "tool"} size={15} />
        <span className="tool-name">{use.call.name}</span>
        <span className="tool-brief">{given.replace(/\s+/g, " ").slice(0, 80)}</span>
        <span className="muted small tool-state">{state}</span>
        <Icon name="down" size={14} />
      </summary>
      {given && <><h4>{say("toolInput")}</h4><pre tabIndex={0}>{given}</pre></>}
      {use.parts.length > 0 && <><h4>{say("toolOutput")}</h4>{use.parts.map((part, place) => <Result key={place} part={part} />)}</>}
    </details>
  );
}

function argumentsOf(use: ToolUse): string {
  const given = Object.entries(use.call.arguments);
  const only = given[0];
  if (given.length === 1 && only && typeof only[1] === "string") return only[1];
  return given.map(([name, value]) => `${name}: ${typeof value === "string" ? value : JSON.stringify(value)}`).join("\n");
}

function Result({ part }: { part: Part }): ReactElement {
  const say = useSay();
  if (part.type === "text") return <pre tabIndex={0}>{part.text}</pre>;
  if (part.type === "image") return <Picture className="tool-picture" part={part as ImagePart} alt={say("picture")} />;
  return <p className="file-line"><Icon name="file" size={15} />{part.name} <span className="muted small">{say.number(part.num_bytes)} B</span></p>;
}
