// Where a question is written: text, files, and how to think about it.

import { AttachmentPrimitive, ComposerPrimitive, useAui, useAuiState } from "@assistant-ui/react";
import { useEffect, useRef, useState, type ReactElement } from "react";

import { setEffort, setMode, stop } from "../data/actions";
import { EFFORTS, MODES, type Effort } from "../data/events";
import { set, useStore } from "../data/state";
import { Icon } from "../parts/icons";
import { useSay } from "../words";

export function Composer({ isRunning, runId }: { isRunning: boolean; runId: string | null }): ReactElement {
  const say = useSay();
  const mode = useStore((state) => state.mode);
  return (
    <ComposerPrimitive.AttachmentDropzone className="composer" data-hint={say("dropHere")}>
      <ComposerPrimitive.Root className="composer-root">
        <div className="attachments" role="group" aria-label={say("attachments")}>
          <ComposerPrimitive.Attachments components={{ Attachment }} />
        </div>
        <ComposerPrimitive.Input className="composer-input" id="question" aria-label={say("askLabel")} placeholder={say("ask")} rows={1} maxRows={10} autoFocus
          unstable_insertNewlineOnTouchEnter />
        <div className="composer-bar">
          <Files />
          <ModeSwitch />
          <Effort />
          <span className="grow" />
          {isRunning ? (
            <button type="button" className="send is-stop" aria-label={say("stop")} title={say("stop")} onClick={() => runId && void stop(runId)}><Icon name="stop" /></button>
          ) : (
            <ComposerPrimitive.Send className="send" aria-label={say("send")} title={say("send")}><Icon name="send" /></ComposerPrimitive.Send>
          )}
        </div>
      </ComposerPrimitive.Root>
      <p className="mode-text" id="mode-text" aria-live="polite">{say(`${mode}Text`)}</p>
      <p className="fine">{say("footer")}</p>
    </ComposerPrimitive.AttachmentDropzone>
  );
}

function Files(): ReactElement {
  const say = useSay();
  const aui = useAui();
  const any = useRef<HTMLInputElement>(null);
  const camera = useRef<HTMLInputElement>(null);
  const take = (input: HTMLInputElement) => {
    for (const file of input.files ?? []) void aui.composer().addAttachment(file).catch((error: unknown) => set({ trouble: String(error) }));
    input.value = "";
  };
  return (
    <>
      <input ref={any} type="file" hidden multiple aria-hidden="true" onChange={(event) => take(event.currentTarget)} />
      <input ref={camera} type="file" hidden accept="image/*" capture="environment" aria-hidden="true" onChange={(event) => take(event.currentTarget)} />
      <button type="button" className="icon-button" aria-label={say("attach")} title={say("attach")} onClick={() => any.current?.click()}><Icon name="clip" /></button>
      <button type="button" className="icon-button camera" aria-label={say("camera")} title={say("camera")} onClick={() => camera.current?.click()}><Icon name="camera" /></button>
    </>
  );
}

function Attachment(): ReactElement {
  const say = useSay();
  const attachment = useAuiState((state) => state.attachment);
  const [url, setUrl] = useState<string | null>(null);
  const { file, name, type, status } = attachment;
  useEffect(() => {
    if (!file || type !== "image") return;
    const made = URL.createObjectURL(file);
    setUrl(made);
    return () => URL.revokeObjectURL(made);
  }, [file, type]);
  const told = status.type === "running" ? say("uploading", { name }) : status.type === "incomplete" ? say("uploadFailed", { name }) : name;
  return (
    <AttachmentPrimitive.Root className={`attachment is-${status.type}`} title={told}>
      {url ? <img src={url} alt={told} /> : <span className="attachment-name"><Icon name="file" size={16} />{told}</span>}
      <AttachmentPrimitive.Remove className="attachment-remove" aria-label={say("removeFile", { name })}><Icon name="close" size={12} /></AttachmentPrimitive.Remove>
    </AttachmentPrimitive.Root>
  );
}

const ICONS = { instant: "bolt", thinking: "thought", contemplating: "team" } as const;

function ModeSwitch(): ReactElement {
  const say = useSay();
  const mode = useStore((state) => state.mode);
  return (
    <fieldset className="modes" aria-describedby="mode-text">
      <legend className="hidden">{say("mode")}</legend>
      {MODES.map((one) => (
        <label key={one} className={one === mode ? "is-on" : ""} title={say(`${one}Text`)}>
          <input type="radio" name="mode" value={one} checked={one === mode} onChange={() => setMode(one)} />
          <Icon name={ICONS[one]} size={15} /><span>{say(one)}</span>
        </label>
      ))}
    </fieldset>
  );
}

function Effort(): ReactElement {
  const say = useSay();
  const mode = useStore((state) => state.mode);
  const effort = useStore((state) => state.effort);
  const models = useStore((state) => state.me?.models);
  const model = useStore((state) => state.model);
  return (
    <>
      {/* Its place is kept in Instant, so that the bar does not move under the finger. */}
      <label className={`select${mode === "instant" ? " is-off" : ""}`}>
        <span className="hidden">{say("effort")}</span>
        <select value={effort ?? ""} disabled={mode === "instant"} onChange={(event) => setEffort((event.target.value || null) as Effort | null)}>
          <option value="">{say("effort")}: {say("effortDefault")}</option>
          {EFFORTS.map((one) => <option key={one} value={one}>{say("effort")}: {say(`effort_${one}`)}</option>)}
        </select>
        <Icon name="down" size={13} />
      </label>
      {models && models.length > 1 && (
        <label className="select">
          <span className="hidden">{say("model")}</span>
          <select value={model ?? ""} onChange={(event) => set({ model: event.target.value })}>
            {models.map((one) => <option key={one.id} value={one.id}>{one.id}</option>)}
          </select>
          <Icon name="down" size={13} />
        </label>
      )}
    </>
  );
}
