// Markdown of a model: sanitised before anything else sees it. No picture is fetched; formulas come when there are any.

import { memo, useDeferredValue, useEffect, useState, type ComponentProps, type ReactElement } from "react";
import ReactMarkdown, { type Components, type Options } from "react-markdown";
import rehypeSanitize, { defaultSchema } from "rehype-sanitize";
import remarkGfm from "remark-gfm";

import { useSay } from "../words";
import { Icon } from "./icons";

type Plugins = NonNullable<Options["rehypePlugins"]>;

const SCHEMA = {
  ...defaultSchema,
  tagNames: (defaultSchema.tagNames ?? []).filter((name) => !["picture", "source"].includes(name)),
  attributes: {
    ...defaultSchema.attributes,
    // What remark-math leaves for KaTeX, and the languages of code.
    code: [["className", /^language-[\w+-]+$/, "math-inline", "math-display"] as [string, ...(string | RegExp)[]]],
  },
  protocols: { ...defaultSchema.protocols, href: ["http", "https", "mailto"], src: [] },
};
const HAS_MATH = /\$[^$\s]|\\\(|\\\[/;

interface Maths {
  remark: Plugins;
  rehype: Plugins;
}
let maths: Maths | null = null;

async function loadMaths(): Promise<Maths> {
  const [{ default: remarkMath }, { rehypeFormulas }] = await Promise.all([import("remark-math"), import("./formulas")]);
  maths = { remark: [remarkMath], rehype: [rehypeFormulas] };
  return maths;
}

function Code({ children }: ComponentProps<"pre">): ReactElement {
  const say = useSay();
  const [isCopied, setCopied] = useState(false);
  const [box, setBox] = useState<HTMLPreElement | null>(null);
  const copy = async () => {
    await copyText(box?.textContent ?? "");
    setCopied(true);
    setTimeout(() => setCopied(false), 1500);
  };
  return (
    <div className="code">
      <button type="button" className="icon-button" aria-label={say("copyCode")} onClick={copy}><Icon name={isCopied ? "check" : "copy"} size={15} /></button>
      <pre ref={setBox} tabIndex={0}>{children}</pre>
    </div>
  );
}

function NoPicture({ alt }: ComponentProps<"img">): ReactElement {
  return <span className="no-picture">{useSay()("remotePicture", { alt: alt ?? "" })}</span>;
}

const COMPONENTS: Components = {
  pre: ({ node: _, ...props }) => <Code {...props} />,
  img: ({ node: _, ...props }) => <NoPicture {...props} />,
  a: ({ node: _, children, ...props }) => <a {...props} target="_blank" rel="noopener noreferrer nofollow">{children}</a>,
  table: ({ node: _, ...props }) => <div className="table-box" tabIndex={0} role="region" aria-label="table"><table {...props} /></div>,
};

export const Markdown = memo(function Markdown({ text }: { text: string }): ReactElement {
  const shown = useDeferredValue(text);
  const [, setLoaded] = useState(maths !== null);
  const wantsMath = HAS_MATH.test(shown);
  useEffect(() => {
    if (wantsMath && !maths) void loadMaths().then(() => setLoaded(true), () => undefined);
  }, [wantsMath]);
  const with_ = wantsMath ? maths : null;
  return (
    <div className="prose">
      <ReactMarkdown
        remarkPlugins={[remarkGfm, ...(with_?.remark ?? [])]} rehypePlugins={[[rehypeSanitize, SCHEMA], ...(with_?.rehype ?? [])]}
        components={COMPONENTS} skipHtml
      >
        {wantsMath ? dollars(shown) : shown}
      </ReactMarkdown>
    </div>
  );
});

/** \( … \) and \[ … \] as the dollars that remark-math knows; code is left alone. */
function dollars(text: string): string {
  return text.split(/(```[\s\S]*?(?:```|$)|`[^`\n]*`)/).map((piece, place) =>
    place % 2 ? piece : piece.replace(/\\\[([\s\S]+?)\\\]/g, (_, inner: string) => `\n$$\n${inner}\n$$\n`).replace(/\\\((.+?)\\\)/g, (_, inner: string) => `$${inner}$`),
  ).join("");
}

export async function copyText(text: string): Promise<void> {
  // Browsers give the clipboard to secure pages alone; a server at home may not be one.
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  const area = document.createElement("textarea");
  area.value = text;
  area.className = "hidden";
  document.body.append(area);
  area.select();
  document.execCommand("copy");
  area.remove();
}
