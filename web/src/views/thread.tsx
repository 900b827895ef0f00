// A conversation: assistant-ui keeps the thread, the composer and the scrolling; the server keeps the truth.

import {
  AssistantRuntimeProvider, ThreadPrimitive, useExternalStoreRuntime, type AppendMessage, type AttachmentAdapter,
  type CompleteAttachment, type PendingAttachment, type ThreadMessageLike,
} from "@assistant-ui/react";
import { useMemo, useRef, type ReactElement } from "react";

import { ask, filesOf, pathOf, stop, textOf } from "../data/actions";
import { api, type Turn } from "../data/api";
import type { ImagePart } from "../data/events";
import { isOver } from "../data/run";
import { get, set, useStore } from "../data/state";
import { Icon } from "../parts/icons";
import { useSay } from "../words";
import { Composer } from "./composer";
import { AssistantMessage, EditComposer, picturesIn, UserMessage, type Custom } from "./messages";
import { Welcome } from "./welcome";

interface Item {
  id: string;
  role: "user" | "assistant";
  text: string;
  custom: Custom;
}

/** Messages of the turns shown. Items of a turn that has not changed stay the same objects, and are not drawn anew. */
function useItems(path: readonly Turn[]): Item[] {
  const kept = useRef(new WeakMap<Turn, { num: number; isLast: boolean; items: Item[] }>());
  return useMemo(() => {
    let pictures: readonly ImagePart[] = [];
    return path.flatMap((turn, place) => {
      const asked = picturesIn(turn.asked);
      if (asked.length) pictures = [...pictures, ...asked];
      const isLast = place === path.length - 1;
      const custom = { turn, pictures, isLast };
      if (turn.replied) {
        const shown = picturesIn(turn.replied);
        if (shown.length) pictures = [...pictures, ...shown];
      }
      const known = kept.current.get(turn);
      if (known && known.num === custom.pictures.length && known.isLast === isLast) return known.items;
      const items: Item[] = [
        { id: `${turn.id}:q`, role: "user", text: textOf(turn), custom },
        { id: `${turn.id}:a`, role: "assistant", text: "", custom },
      ];
      kept.current.set(turn, { num: custom.pictures.length, isLast, items });
      return items;
    });
  }, [path]);
}

const toMessage = (item: Item): ThreadMessageLike => ({
  id: item.id, role: item.role, content: [{ type: "text", text: item.text }], createdAt: new Date(item.custom.turn.started * 1000),
  metadata: { custom: item.custom }, ...(item.role === "assistant" ? { status: { type: "complete", reason: "stop" } } : {}),
});

const wordsOf = (message: AppendMessage) => message.content.map((part) => (part.type === "text" ? part.text : "")).join("");

/** Files go to the server as soon as they are chosen; a question then names them. */
class Uploads implements AttachmentAdapter {
  accept = "image/png,image/jpeg,image/webp,image/gif,image/bmp,text/*,application/pdf,application/json,.md,.csv,.txt,.pdf";
  private readonly sent = new Map<string, string>();

  async *add({ file }: { file: File }): AsyncGenerator<PendingAttachment, void> {
    const id = Math.random().toString(36).slice(2);
    const found = { id, name: file.name, file, contentType: file.type, type: file.type.startsWith("image/") ? ("image" as const) : ("document" as const) };
    yield { ...found, status: { type: "running", reason: "uploading", progress: 0 } };
    try {
      this.sent.set(id, (await api.upload(file)).id);
      yield { ...found, status: { type: "requires-action", reason: "composer-send" } };
    } catch (error) {
      set({ trouble: error instanceof Error ? error.message : String(error) });
      yield { ...found, status: { type: "incomplete", reason: "error", message: String(error) } };
    }
  }

  async remove({ id }: { id: string }): Promise<void> {
    this.sent.delete(id);
  }

  async send(attachment: PendingAttachment): Promise<CompleteAttachment> {
    return { ...attachment, status: { type: "complete" }, content: [] };
  }

  fileOf(id: string): string | undefined {
    return this.sent.get(id);
  }
}

export function Thread(): ReactElement {
  const say = useSay();
  const turns = useStore((state) => state.turns);
  const chosen = useStore((state) => state.chosen);
  const sending = useStore((state) => state.sending);
  const isLoading = useStore((state) => state.isLoading);
  const path = useMemo(() => pathOf(turns, chosen), [turns, chosen]);
  const items = useItems(path);
  const last = path.at(-1);
  const isRunning = useStore((state) => {
    const run = last && state.runs[last.run_id];
    return run ? !isOver(run) : last?.status === "running";
  });
  const uploads = useMemo(() => new Uploads(), []);
  const runtime = useExternalStoreRuntime<Item>({
    messages: items,
    convertMessage: toMessage,
    isRunning,
    isSendDisabled: sending !== null,
    adapters: { attachments: uploads },
    onNew: async (message) => {
      const files = (message.attachments ?? []).flatMap(({ id }) => uploads.fileOf(id) ?? []);
      const text = wordsOf(message);
      await ask(text, files, last?.id ?? null).catch(() => runtime.thread.composer.setText(text));
    },
    onEdit: async (message) => {
      const turn = get().turns.find((one) => `${one.id}:q` === message.sourceId);
      if (turn) await ask(wordsOf(message), filesOf(turn), turn.parent).catch(() => undefined);
    },
    onCancel: async () => {
      if (last) await stop(last.run_id);
    },
  });
  const isEmpty = path.length === 0 && !sending && !isLoading;
  return (
    <AssistantRuntimeProvider runtime={runtime}>
      <ThreadPrimitive.Root className={`thread${isEmpty ? " is-empty" : ""}`}>
        <ThreadPrimitive.Viewport className="viewport" tabIndex={-1}>
          {isEmpty && <Welcome />}
          {isLoading && <p className="muted loading">{say("loading")}…</p>}
          <div className="messages">
            <ThreadPrimitive.Messages components={{ UserMessage, AssistantMessage, EditComposer }} />
            {sending && <div className="message user is-sending"><div className="bubble">{sending.text}</div></div>}
          </div>
        </ThreadPrimitive.Viewport>
        <div className="dock">
          <ThreadPrimitive.ScrollToBottom className="icon-button to-end" aria-label={say("toEnd")}><Icon name="down" /></ThreadPrimitive.ScrollToBottom>
          <Composer isRunning={isRunning || sending !== null} runId={last?.run_id ?? null} />
        </div>
      </ThreadPrimitive.Root>
    </AssistantRuntimeProvider>
  );
}
