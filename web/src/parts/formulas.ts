// Formulas by KaTeX, in a tree that is sanitised already. What KaTeX writes comes as a string with style attributes, which
// the page's content policy refuses; they are carried past the parser under another name, and React sets them one by one.

import type { Element, ElementContent, Root, RootContent } from "hast";
import katex from "katex";
import "katex/dist/katex.min.css";

const OPTIONS = { trust: false, strict: "ignore", throwOnError: false, maxExpand: 200, maxSize: 20, errorColor: "currentColor" } as const;

export function rehypeFormulas(): (tree: Root) => void {
  return (tree) => replaceIn(tree);
}

function replaceIn(parent: Root | Element): void {
  parent.children = parent.children.flatMap((node): (RootContent & ElementContent)[] => {
    if (node.type !== "element") return [node as RootContent & ElementContent];
    const inner = node.tagName === "pre" && node.children.length === 1 ? node.children[0]! : node;
    const kinds = inner.type === "element" ? inner.properties["className"] : undefined;
    if (inner.type === "element" && Array.isArray(kinds) && (kinds.includes("math-inline") || kinds.includes("math-display"))) {
      return formula(textOf(inner), kinds.includes("math-display"));
    }
    replaceIn(node);
    return [node];
  });
}

function formula(tex: string, displayMode: boolean): Element[] {
  const markup = katex.renderToString(tex, { ...OPTIONS, displayMode }).replaceAll(' style="', ' data-set="');
  const parsed = new DOMParser().parseFromString(markup, "text/html");
  return [...parsed.body.children].map(asHast);
}

function asHast(element: globalThis.Element): Element {
  const properties: Element["properties"] = {};
  for (const { name, value } of element.attributes) {
    if (name === "data-set") properties["style"] = value;
    else if (name === "class") properties["className"] = value.split(" ");
    else properties[name] = value;
  }
  const children = [...element.childNodes].flatMap((node): ElementContent[] => {
    if (node instanceof globalThis.Element) return [asHast(node)];
    return node.nodeType === Node.TEXT_NODE ? [{ type: "text", value: node.textContent ?? "" }] : [];
  });
  return { type: "element", tagName: element.localName, properties, children };
}

function textOf(node: Element): string {
  return node.children.map((child) => (child.type === "text" ? child.value : child.type === "element" ? textOf(child) : "")).join("");
}
