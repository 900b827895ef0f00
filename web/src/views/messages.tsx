// A question and its answer.

import { ActionBarPrimitive, ComposerPrimitive, MessagePrimitive, useAuiState } from "@assistant-ui/react";
import { memo, useEffect, useMemo, useRef, useState, type ReactElement } from "react";

import { choose, isLost, retry, siblings, textOf, watch } from "../data/actions";
import type { Turn } from "../data/api";
import type { ImagePart, Message } from "../data/events";
import { isOver, type Run } from "../data/run";
import { set, useStore } from "../data/state";
import { asksAboutHealth } from "../data/health";
import { Icon } from "../parts/icons";
import { LedgerLine } from "../parts/ledger";
import { copyText, Markdown } from "../parts/markdown";
import { useNear } from "../parts/near";
import { Picture } from "../parts/picture";
import { Process } from "../parts/process";
import { useSay } from "../words";

export interface Custom extends Record<string, unknown> {
  turn: Turn;
  pictures: readonly ImagePart[]; // that tools can name: all of the conversation up to this turn
  isLast: boolean;
}

export const useCustom = () => useAuiState((state) => state.message.metadata.custom) as Custom;

export function picturesIn(messages: readonly Message[]): ImagePart[] {
  return messages.flatMap((message) => message.parts.filter((part) => part.type === "image"));
}

export function UserMessage(): ReactElement {
  const say = useSay();
  const { turn } = useCustom();
  const pictures = picturesIn(turn.asked);
  const files = turn.asked.flatMap((message) => message.parts.filter((part) => part.type === "file"));
  const text = textOf(turn);
  return (
    <MessagePrimitive.Root className="message user">
      <h2 className="hidden">{say("you")}</h2>
      {pictures.length > 0 && (
        <div className="asked-pictures">
          {pictures.map((part, place) => <Picture key={place} part={part} alt={say("pictureAsked", { n: place + 1 })} />)}
        </div>
      )}
      {files.map((part) => <p key={part.sha256} className="file-line"><Icon name="file" size={15} />{part.name}</p>)}
      {text && <div className="bubble">{text}</div>}
      <div className="actions">
        <Versions turn={turn} isOfQuestion />
        <ActionBarPrimitive.Edit className="icon-button" aria-label={say("edit")} title={say("edit")}><Icon name="pencil" size={15} /></ActionBarPrimitive.Edit>
      </div>
    </MessagePrimitive.Root>
  );
}

export function EditComposer(): ReactElement {
  const say = useSay();
  return (
    <MessagePrimitive.Root className="message user">
      <ComposerPrimitive.Root className="edit">
        <ComposerPrimitive.Input aria-label={say("editLabel")} autoFocus maxRows={12} addAttachmentOnPaste={false} />
        <div className="edit-actions">
          <ComposerPrimitive.Cancel className="button">{say("cancel")}</ComposerPrimitive.Cancel>
          <ComposerPrimitive.Send className="button main">{say("askAgain")}</ComposerPrimitive.Send>
        </div>
      </ComposerPrimitive.Root>
    </MessagePrimitive.Root>
  );
}

export function AssistantMessage(): ReactElement {
  const say = useSay();
  const { turn, pictures, isLast } = useCustom();
  const ref = useRef<HTMLDivElement>(null);
  const isNear = useNear(ref, 1200, 0);
  // What is merely scrolled past need not tell how it came about.
  const isSeen = useNear(ref, 400, 200);
  const isRead = isLast || isSeen;
  const run = useStore((state) => state.runs[turn.run_id]);
  useEffect(() => {
    if (isRead) void watch(turn.run_id);
  }, [isRead, turn.run_id]);
  const told = turn.replied?.at(-1)?.parts.map((part) => (part.type === "text" ? part.text : "")).join("") ?? "";
  const isTold = run !== undefined && (run.hasAnswered || isOver(run));
  // What is read first is shown with how it came about, which comes a moment later: nothing is pushed aside.
  const isAwaited = isLast && !isTold && !isLost(turn.run_id);
  const text = isTold ? run.answer || told : isAwaited ? "" : told;
  const isHealth = useMemo(() => asksAboutHealth(textOf(turn)), [turn]);
  return (
    <MessagePrimitive.Root className="message assistant" data-status={run?.status ?? turn.status}>
      <h2 className="hidden">{say("answerOf")}</h2>
      <div ref={ref}>
        <div className="process-slot">{run && run.status !== "waiting" && <Process run={run} pictures={pictures} isNew={isLast} />}</div>
        <div className="answer" aria-live={isLast ? "polite" : undefined} aria-busy={run ? !isOver(run) : false}>
          {isNear ? text && <Markdown text={text} /> : <div className="prose plain">{text}</div>}
          <Ending run={run} turn={turn} />
        </div>
        {isHealth && <p className="health">{say("health")}</p>}
        <Footer run={run} turn={turn} text={text} />
      </div>
    </MessagePrimitive.Root>
  );
}

function Ending({ run, turn }: { run: Run | undefined; turn: Turn }): ReactElement | null {
  const say = useSay();
  const status = run && isOver(run) ? run.status : turn.status;
  if (status === "failed") {
    return (
      <div className="failure" role="alert">
        <strong>{say("failed")}</strong> {run?.failure?.message} {run?.failure?.hint && <span className="muted">{run.failure.hint}</span>}
      </div>
    );
  }
  if (status === "cut") return <p className="muted small">{say("cutShort")}</p>;
  if (run?.finish === "length") return <p className="muted small">{say("cutNoRoom")}</p>;
  return null;
}

const Footer = memo(function Footer({ run, turn, text }: { run: Run | undefined; turn: Turn; text: string }): ReactElement {
  const say = useSay();
  const [isCopied, setCopied] = useState(false);
  const isEmbedded = useStore((state) => state.me?.models.some((model) => model.is_embedded && model.id === (run?.model ?? turn.model)) ?? false);
  const isDone = run ? isOver(run) : turn.status !== "running";
  const agent = run?.agents.find((one) => one.ended !== null && (one.role === "solo" || one.role === "proposer") && one.turns > 0);
  const copy = async () => {
    await copyText(text);
    setCopied(true);
    setTimeout(() => setCopied(false), 1500);
  };
  return (
    <footer className={`answer-foot${isDone ? "" : " is-waiting"}`}>
      <div className="actions">
        {isDone && <>
          <button type="button" className="icon-button" aria-label={isCopied ? say("copied") : say("copy")} title={say("copy")} onClick={copy} disabled={!text}>
            <Icon name={isCopied ? "check" : "copy"} size={15} />
          </button>
          <button type="button" className="icon-button" aria-label={say("retry")} title={say("retry")} onClick={() => void retry(turn)}><Icon name="retry" size={15} /></button>
          {isEmbedded && agent && run && (
            <button type="button" className="icon-button" aria-label={say("inside")} title={say("inside")}
              onClick={() => set({ inside: { runId: run.id, agentId: agent.id, turn: agent.turns - 1 } })}><Icon name="window" size={15} /></button>
          )}
        </>}
        <Versions turn={turn} isOfQuestion={false} />
      </div>
      {run?.ledger && <LedgerLine run={run} ledger={run.ledger} />}
    </footer>
  );
});

/** Which of several turns with one parent is shown: beside the question where questions differ, else beside the answer. */
function Versions({ turn, isOfQuestion }: { turn: Turn; isOfQuestion: boolean }): ReactElement | null {
  const say = useSay();
  const turns = useStore((state) => state.turns);
  const all = useMemo(() => siblings(turns, turn), [turns, turn]);
  const isAboutQuestion = useMemo(() => new Set(all.map(textOf)).size > 1, [all]);
  if (all.length < 2 || isAboutQuestion !== isOfQuestion) return null;
  const place = all.indexOf(turn);
  const go = (step: number) => {
    const other = all[place + step];
    if (other) choose(other);
  };
  return (
    <div className="versions" role="group" aria-label={say("version", { n: place + 1, all: all.length })}>
      <button type="button" className="icon-button" aria-label={say("previous")} disabled={place <= 0} onClick={() => go(-1)}><Icon name="left" size={14} /></button>
      <span aria-hidden="true">{place + 1}/{all.length}</span>
      <button type="button" className="icon-button" aria-label={say("next")} disabled={place >= all.length - 1} onClick={() => go(1)}><Icon name="right" size={14} /></button>
    </div>
  );
}
