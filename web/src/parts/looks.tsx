// Where it looked: boxes on the pictures of the question. A box, its crop and its thought light up together.

import { createContext, useContext, useMemo, useState, type ReactElement, type ReactNode } from "react";

import type { ImagePart } from "../data/events";
import type { Box, Look } from "../data/run";
import { useSay } from "../words";
import { Picture } from "./picture";

interface Hot {
  keys: readonly string[];
  show: (keys: readonly string[]) => void;
}
const HotLooks = createContext<Hot>({ keys: [], show: () => undefined });

export function HotScope({ children }: { children: ReactNode }): ReactElement {
  const [keys, show] = useState<readonly string[]>([]);
  const value = useMemo(() => ({ keys, show }), [keys]);
  return <HotLooks.Provider value={value}>{children}</HotLooks.Provider>;
}

/** What makes a part of the page light up its looks, and be lit up by them. */
export function useHot(keys: readonly string[]): { isHot: boolean; handlers: Record<string, () => void> } {
  const hot = useContext(HotLooks);
  const on = () => hot.show(keys);
  const off = () => hot.show([]);
  return {
    isHot: keys.some((key) => hot.keys.includes(key)),
    handlers: { onMouseEnter: on, onMouseLeave: off, onFocus: on, onBlur: off },
  };
}

type Corner = "tl" | "tr" | "bl" | "br";

interface Place {
  box: Box;
  looks: Look[];
  corner: Corner;
}

/** Looks at the same place are one box. */
function placesOf(looks: readonly Look[]): Place[] {
  const found = new Map<string, Place>();
  for (const look of looks) {
    const name = look.box.map(Math.round).join();
    const place = found.get(name) ?? { box: look.box, looks: [], corner: "tl" as const };
    place.looks.push(look);
    found.set(name, place);
  }
  // Small boxes last, so that they lie on top and can be pointed at.
  const size = (box: Box) => (box[2] - box[0]) * (box[3] - box[1]);
  const places = [...found.values()].sort((one, other) => size(other.box) - size(one.box));
  // Boxes often overlap; each takes the first corner at which its number stands free.
  const taken: [number, number][] = [];
  for (const place of places) {
    const [left, top, right, bottom] = place.box;
    const corners: [Corner, number, number][] = [["tl", left, top], ["tr", right, top], ["bl", left, bottom], ["br", right, bottom]];
    const free = corners.find(([, x, y]) => taken.every(([otherX, otherY]) => Math.abs(x - otherX) > 130 || Math.abs(y - otherY) > 70));
    const [corner, x, y] = free ?? corners[taken.length % 4]!;
    place.corner = corner;
    taken.push([x, y]);
  }
  return places;
}

export function Looks({ pictures, looks, isCrowd, keepsLast }: {
  pictures: readonly ImagePart[];
  looks: readonly Look[];
  isCrowd: boolean;
  keepsLast: boolean; // the last picture is shown though nobody has looked at any
}): ReactElement {
  const say = useSay();
  const all = pictures.map((part, index) => ({ part, index }));
  const looked = all.filter(({ index }) => looks.some((look) => look.picture === index));
  const shown = looked.length || !keepsLast ? looked : all.slice(-1);
  return (
    <figure className="looks" aria-label={say("lookedWhere")}>
      {shown.map(({ part, index }) => (
        <div className="looks-picture" key={index}>
          <Picture part={part} alt={say("pictureAsked", { n: index + 1 })} />
          {placesOf(looks.filter((look) => look.picture === index)).map((place) => (
            <PlaceBox key={place.box.join()} place={place} isCrowd={isCrowd} />
          ))}
        </div>
      ))}
      <figcaption>{say("lookedWhere")}</figcaption>
    </figure>
  );
}

function PlaceBox({ place, isCrowd }: { place: Place; isCrowd: boolean }): ReactElement {
  const say = useSay();
  const { isHot, handlers } = useHot(place.looks.map((look) => look.key));
  const numbers = [...new Set(place.looks.map((look) => (isCrowd ? look.agent.number : look.number)))];
  const [left, top, right, bottom] = place.box;
  const label = place.looks
    .map((look) => (isCrowd ? say("lookOf", { n: look.number, agent: look.agent.number }) : say("look", { n: look.number })))
    .join(", ");
  return (
    <button
      type="button" className={`place at-${place.corner}${isHot ? " hot" : ""}${top < 80 || bottom > 920 ? " low" : ""}`} aria-label={`${brief(numbers)}: ${label}`} {...handlers}
      style={{ left: `${left / 10}%`, top: `${top / 10}%`, width: `${(right - left) / 10}%`, height: `${(bottom - top) / 10}%` }}
    >
      <span className="place-number" aria-hidden="true">{brief(numbers)}</span>
    </button>
  );
}

/** 1, 2 and 3 as "1–3"; 1, 4, 5 and 9 as "1 +3": numbers stand beside each other on a small picture. */
function brief(numbers: readonly number[]): string {
  const sorted = [...numbers].sort((one, other) => one - other);
  const [first, last, count] = [sorted[0]!, sorted.at(-1)!, sorted.length];
  if (count === 1) return `${first}`;
  if (last - first === count - 1) return `${first}–${last}`;
  return count === 2 ? `${first}, ${last}` : `${first} +${count - 1}`;
}
