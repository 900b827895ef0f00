// A small set of line icons, drawn on 20 x 20. They are decoration: words beside them, or a label, say what they mean.

import type { ReactElement } from "react";

const PATHS = {
  plus: "M10 4v12M4 10h12",
  search: "M9 3.5a5.5 5.5 0 1 0 0 11a5.5 5.5 0 1 0 0-11M13 13l4 4",
  send: "M10 16V4M5 9l5-5l5 5",
  stop: "M6 6h8v8H6z",
  clip: "M15.5 9.5l-5.6 5.6a3.5 3.5 0 0 1-5-5l6-6a2.3 2.3 0 0 1 3.3 3.3l-5.8 5.8a1.2 1.2 0 0 1-1.7-1.7l5-5",
  camera: "M3 6.5h3.2L7.5 4.5h5l1.3 2H17v9H3zM10 8.2a2.6 2.6 0 1 0 0 5.2a2.6 2.6 0 1 0 0-5.2",
  copy: "M7 7h9v9H7zM13 7V4H4v9h3",
  check: "M4 10.5l4 4l8-9",
  retry: "M16 10a6 6 0 1 1-1.8-4.3M16 3.5v3.2h-3.2",
  pencil: "M4 16l.8-3.4l8.4-8.4l2.6 2.6l-8.4 8.4zM11.5 5.9l2.6 2.6",
  trash: "M4 6h12M8 6V4h4v2M6 6l.7 10h6.6L14 6M8.7 9v4.5M11.3 9v4.5",
  download: "M10 3.5v9M6.2 9l3.8 3.7L13.8 9M4 16.2h12",
  down: "M5.5 8l4.5 4.5L14.5 8",
  left: "M12 5l-5 5l5 5",
  right: "M8 5l5 5l-5 5",
  menu: "M3.5 6h13M3.5 10h13M3.5 14h13",
  close: "M5 5l10 10M15 5L5 15",
  more: "M4.5 10h.01M10 10h.01M15.5 10h.01",
  sun: "M10 6.8a3.2 3.2 0 1 0 0 6.4a3.2 3.2 0 1 0 0-6.4M10 2.5v1.6M10 15.9v1.6M2.5 10h1.6M15.9 10h1.6M4.7 4.7l1.1 1.1M14.2 14.2l1.1 1.1M15.3 4.7l-1.1 1.1M5.8 14.2l-1.1 1.1",
  moon: "M16 11.8A6.6 6.6 0 0 1 8.2 4a6.6 6.6 0 1 0 7.8 7.8z",
  auto: "M10 3a7 7 0 1 0 0 14a7 7 0 1 0 0-14M10 3v14M10 6.2l4.6 0M10 10h7M10 13.8h4.6",
  key: "M7 9.2a3.2 3.2 0 1 0 0 6.4a3.2 3.2 0 1 0 0-6.4M9.3 10.1L16 3.5M13.2 6.3l2.3 2.3",
  eye: "M2.5 10S5.2 5 10 5s7.5 5 7.5 5s-2.7 5-7.5 5s-7.5-5-7.5-5zM10 7.8a2.2 2.2 0 1 0 0 4.4a2.2 2.2 0 1 0 0-4.4",
  tool: "M12.6 3.6a3.8 3.8 0 0 0-4.4 5L3.6 13.2l3.2 3.2l4.6-4.6a3.8 3.8 0 0 0 5-4.4l-2.3 2.3l-2.6-.9l-.9-2.6z",
  bolt: "M11 2.5L4.5 11.2H9.6L9 17.5l6.5-8.7h-5.1z",
  thought: "M10 3.2a5 5 0 0 0-2.9 9.1V14h5.8v-1.7A5 5 0 0 0 10 3.2M7.8 16.6h4.4",
  team: "M7 4.5a2.5 2.5 0 1 0 0 5a2.5 2.5 0 1 0 0-5M2.5 16c0-2.8 1.9-4.6 4.5-4.6s4.5 1.8 4.5 4.6M13.2 5.2a2.2 2.2 0 1 1 0 4.3M14.2 11.6c2 .4 3.3 2 3.3 4.4",
  window: "M3.5 4.5h13v11h-13zM3.5 8h13M7.5 8v7.5",
  file: "M5 3h6.5L15 6.5V17H5zM11.5 3v3.5H15",
} as const;

export type IconName = keyof typeof PATHS;

export function Icon({ name, size = 18 }: { name: IconName; size?: number }): ReactElement {
  const isSolid = name === "stop";
  return (
    <svg className="icon" width={size} height={size} viewBox="0 0 20 20" aria-hidden="true" focusable="false"
      fill={isSolid ? "currentColor" : "none"} stroke="currentColor" strokeWidth={name === "more" ? 2.4 : 1.5}
      strokeLinecap="round" strokeLinejoin="round">
      <path d={PATHS[name]} />
    </svg>
  );
}

/** A stalk of fennel with a spark in it. */
export function Mark({ size = 24 }: { size?: number }): ReactElement {
  return (
    <svg className="mark" width={size} height={size} viewBox="0 0 24 24" aria-hidden="true" focusable="false" fill="none">
      <path d="M12 22V11" stroke="currentColor" strokeWidth="1.8" strokeLinecap="round" />
      <path d="M12 18c-2.6-.2-4.4-1.4-5.2-3.6M12 16c2.6-.2 4.4-1.4 5.2-3.6" stroke="currentColor" strokeWidth="1.5" strokeLinecap="round" />
      <path className="spark" d="M12 1.8c.5 2.3 3.1 3.4 3.1 6a3.1 3.1 0 0 1-6.2 0c0-1.3.7-2 1.3-2.7c.2.8.6 1.1 1 1.2c-.3-1.6.1-3.2.8-4.5z" />
    </svg>
  );
}
