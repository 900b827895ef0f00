import { useEffect, useRef, useState, type KeyboardEvent, type ReactElement, type ReactNode } from "react";

import { Icon, type IconName } from "./icons";

export interface MenuItem {
  icon: IconName;
  label: string;
  act: () => void;
  isGrave?: boolean;
}

/** A button with a menu that opens beside it. Arrows move, Escape closes, and the focus goes back to the button. */
export function Menu({ label, items, children, className = "icon-button" }: {
  label: string;
  items: readonly MenuItem[];
  children: ReactNode;
  className?: string;
}): ReactElement {
  const [place, setPlace] = useState<{ top: number; right: number } | null>(null);
  const button = useRef<HTMLButtonElement>(null);
  const list = useRef<HTMLDivElement>(null);
  const close = (givesFocus: boolean) => {
    setPlace(null);
    if (givesFocus) button.current?.focus();
  };
  useEffect(() => {
    if (!place) return;
    list.current?.querySelector<HTMLElement>("[role=menuitem]")?.focus();
    const away = (event: Event) => {
      if (!list.current?.contains(event.target as Node) && !button.current?.contains(event.target as Node)) setPlace(null);
    };
    document.addEventListener("pointerdown", away);
    window.addEventListener("resize", away);
    return () => {
      document.removeEventListener("pointerdown", away);
      window.removeEventListener("resize", away);
    };
  }, [place]);
  const open = () => {
    const box = button.current!.getBoundingClientRect();
    const height = items.length * 40 + 16;
    const top = box.bottom + height > innerHeight ? Math.max(8, box.top - height) : box.bottom + 4;
    setPlace({ top, right: Math.max(8, Math.min(innerWidth - box.right, innerWidth - 232)) });
  };
  const onKey = (event: KeyboardEvent) => {
    const all = [...(list.current?.querySelectorAll<HTMLElement>("[role=menuitem]") ?? [])];
    const here = all.indexOf(document.activeElement as HTMLElement);
    if (event.key === "Escape") close(true);
    else if (event.key === "ArrowDown") all[(here + 1) % all.length]?.focus();
    else if (event.key === "ArrowUp") all[(here - 1 + all.length) % all.length]?.focus();
    else if (event.key === "Tab") close(false);
    else return;
    event.preventDefault();
    event.stopPropagation();
  };
  return (
    <>
      <button ref={button} type="button" className={className} aria-label={label} title={label} aria-haspopup="menu" aria-expanded={place !== null}
        onClick={(event) => { event.preventDefault(); if (place) close(true); else open(); }}>{children}</button>
      {place && (
        <div ref={list} className="menu" role="menu" aria-label={label} style={{ top: place.top, right: place.right }} onKeyDown={onKey}>
          {items.map((item) => (
            <button key={item.label} type="button" role="menuitem" tabIndex={-1} className={item.isGrave ? "grave" : ""}
              onClick={() => { close(true); item.act(); }}>
              <Icon name={item.icon} size={16} />{item.label}
            </button>
          ))}
        </div>
      )}
    </>
  );
}
