// See inside: what the model found likely, which experts worked, and where it looked, token by token.

import { useEffect, useState, type KeyboardEvent, type ReactElement } from "react";

import { api, type Inside, type InsideToken } from "../data/api";
import type { ImagePart } from "../data/events";
import { set, useStore } from "../data/state";
import { Dialog } from "../parts/dialog";
import { Picture } from "../parts/picture";
import { useSay } from "../words";

export default function InsideView(): ReactElement | null {
  const wanted = useStore((state) => state.inside);
  return wanted && <Opened key={wanted.runId} wanted={wanted} />;
}

function Opened({ wanted }: { wanted: { runId: string; agentId: string; turn: number } }): ReactElement {
  const say = useSay();
  const agents = useStore((state) => state.runs[wanted.runId]?.agents);
  const [agentId, setAgentId] = useState(wanted.agentId);
  const [turn, setTurn] = useState(wanted.turn);
  const [found, setFound] = useState<Inside | null>(null);
  const [trouble, setTrouble] = useState<string | null>(null);
  const agent = agents?.find((one) => one.id === agentId);
  const isAble = agent?.role === "solo" || agent?.role === "proposer";
  useEffect(() => {
    let isHere = true;
    setFound(null);
    setTrouble(null);
    if (isAble) api.inside(wanted.runId, agentId, turn).then((inside) => isHere && setFound(inside), (error: Error) => isHere && setTrouble(error.message));
    return () => {
      isHere = false;
    };
  }, [wanted.runId, agentId, turn, isAble]);
  return (
    <Dialog title={say("insideTitle")} className="wide" onClose={() => set({ inside: null })}>
      <p className="muted small">{say("insideText")}</p>
      <div className="inside-choice">
        {(agents?.length ?? 0) > 1 && (
          <label className="select"><span className="hidden">{say("board")}</span>
            <select value={agentId} onChange={(event) => { const one = agents?.find((other) => other.id === event.target.value); setAgentId(event.target.value); setTurn(Math.max(0, (one?.turns ?? 1) - 1)); }}>
              {agents?.map((one) => <option key={one.id} value={one.id}>{say("agent", { n: one.number })}</option>)}
            </select></label>
        )}
        {(agent?.turns ?? 0) > 1 && (
          <div className="segmented" role="group" aria-label={say("insideTurn")}>
            {Array.from({ length: agent!.turns }, (_, number) => (
              <button key={number} type="button" aria-pressed={number === turn} onClick={() => setTurn(number)}>{say("insideTurn")} {number + 1}</button>
            ))}
          </div>
        )}
      </div>
      {!isAble && <p className="muted">{say("insideRole")}</p>}
      {trouble && <p className="failure" role="alert">{trouble}</p>}
      {isAble && !found && !trouble && <p className="muted" role="status">{say("insideLoading")}…</p>}
      {found && <Tokens key={`${agentId} ${turn}`} inside={found} />}
    </Dialog>
  );
}

function Tokens({ inside }: { inside: Inside }): ReactElement {
  const say = useSay();
  // The least expected token is the one worth a look.
  const [chosen, setChosen] = useState(() => inside.tokens.reduce((best, token, place) => (token.probability < (inside.tokens[best]?.probability ?? 2) ? place : best), 0));
  const token = inside.tokens[chosen];
  const onKey = (event: KeyboardEvent<HTMLElement>) => {
    const step = event.key === "ArrowRight" || event.key === "ArrowDown" ? 1 : event.key === "ArrowLeft" || event.key === "ArrowUp" ? -1 : 0;
    if (!step) return;
    event.preventDefault();
    const next = Math.min(inside.tokens.length - 1, Math.max(0, chosen + step));
    setChosen(next);
    event.currentTarget.querySelectorAll<HTMLElement>("[role=option]")[next]?.focus();
  };
  return (
    <div className="inside">
      <div className="tokens" role="listbox" aria-label={say("insideToken")} onKeyDown={onKey}>
        {inside.tokens.map((one, place) => (
          <span key={place} role="option" aria-label={one.text.trim() ? undefined : JSON.stringify(one.text)} aria-selected={place === chosen} tabIndex={place === chosen ? 0 : -1}
            className={`token${isControl(one) ? " is-control" : ""}`} style={{ "--doubt": doubt(one.probability) } as React.CSSProperties}
            onMouseEnter={() => setChosen(place)} onFocus={() => setChosen(place)} onClick={() => setChosen(place)}>
            {isControl(one) ? one.text.replace(/^<\||\|>$/g, "").replace(/_/g, " ") : one.text}
          </span>
        ))}
      </div>
      {token && <Detail inside={inside} token={token} />}
    </div>
  );
}

const isControl = (token: InsideToken) => /^<\|.*\|>$/.test(token.text);
/** 0 for what was certain, 1 for one in a hundred. */
const doubt = (probability: number) => Math.min(1, -Math.log10(Math.max(probability, 0.01)) / 2);

function Detail({ inside, token }: { inside: Inside; token: InsideToken }): ReactElement {
  const say = useSay();
  const shown = (text: string) => text.replace(/\n/g, "↵").replace(/^ | $/g, "␣") || "␣";
  return (
    <div className="inside-detail">
      <section>
        <h3>{say("insideInstead")}</h3>
        <ul className="alternatives">
          {token.top.map((one, place) => (
            <li key={place} className={one.text === token.text ? "is-said" : ""}>
              <code>{shown(one.text)}</code><span className="bar"><i style={{ width: `${100 * one.probability}%` }} /></span>
              <span className="amount">{one.probability < 0.005 ? `< ${say.percent(0.01)}` : say.percent(one.probability)}</span>
            </li>
          ))}
        </ul>
      </section>
      {token.experts.length > 0 && (
        <section>
          <h3>{say("insideExperts")}</h3>
          {token.experts.map((chosen, layer) => (
            <div key={layer} className="experts" role="img" aria-label={`${say("insideLayer", { n: layer + 1 })}: ${chosen.map((one) => one + 1).join(", ")}`}>
              <span className="small muted">{say("insideLayer", { n: layer + 1 })}</span>
              {Array.from({ length: inside.num_experts }, (_, expert) => <i key={expert} className={chosen.includes(expert) ? "is-on" : ""}>{expert + 1}</i>)}
            </div>
          ))}
        </section>
      )}
      <section>
        <h3>{say("insideAttention")}</h3>
        {inside.pictures.length === 0 && <p className="muted small">{say("insideNoPicture")}</p>}
        <div className="heats">
          {inside.pictures.map((picture, place) => {
            const grid = token.attention[String(place)];
            const part: ImagePart = { type: "image", media_type: "image/png", ...picture };
            return (
              <div key={place} className="heat">
                <Picture part={part} alt={say("pictureAsked", { n: place + 1 })} />
                {grid && <Heat grid={grid} covers={picture.covers} />}
              </div>
            );
          })}
        </div>
      </section>
    </div>
  );
}

/** Where the picture fills only a part of its tiles, the rest of the grid lies outside of it and is cut off. */
function Heat({ grid, covers }: { grid: number[][]; covers: [number, number] }): ReactElement {
  const most = Math.max(1e-9, ...grid.flat());
  const columns = grid[0]?.length ?? 1;
  return (
    <svg className="heat-grid" viewBox={`0 0 ${columns * covers[0]} ${grid.length * covers[1]}`} preserveAspectRatio="none" aria-hidden="true">
      {grid.flatMap((row, y) => row.map((weight, x) => <rect key={`${x} ${y}`} x={x} y={y} width={1} height={1} fillOpacity={0.66 * (weight / most) ** 0.7} />))}
    </svg>
  );
}
