// All conversations, and the ways to everything else.

import { useEffect, useState, type ReactElement } from "react";

import { forget, moreOfList, rename, save, searchFor, signOut } from "../data/actions";
import { key, type ConversationItem } from "../data/api";
import { set, useStore } from "../data/state";
import { Dialog } from "../parts/dialog";
import { Icon, Mark } from "../parts/icons";
import { Menu } from "../parts/menu";
import { setTheme, useTheme, type Theme } from "../parts/theme";
import { LANGUAGES, Saying, useSay, type Language } from "../words";
import { useContext } from "react";

export function Sidebar(): ReactElement {
  const say = useSay();
  const list = useStore((state) => state.list);
  const hasMore = useStore((state) => state.hasMore);
  const search = useStore((state) => state.search);
  const openId = useStore((state) => state.openId);
  const view = useStore((state) => state.view);
  const isMenuOpen = useStore((state) => state.isMenuOpen);
  return (
    <>
      <nav className={`sidebar${isMenuOpen ? " is-open" : ""}`} aria-label={say("conversations")}>
        <div className="brand">
          <Mark /><span>{say("appName")}</span>
          <button type="button" className="icon-button only-narrow" aria-label={say("closeMenu")} onClick={() => set({ isMenuOpen: false })}><Icon name="close" /></button>
        </div>
        <a className="button new" href="#/" onClick={() => set({ isMenuOpen: false })}><Icon name="plus" size={16} />{say("newQuestion")}</a>
        <Search value={search} />
        <ul className="conversations">
          {list.map((item) => <Entry key={item.id} item={item} isOpen={view === "chat" && item.id === openId} />)}
          {list.length === 0 && <li className="muted small nothing">{search ? say("nothingFound") : say("nothingYet")}</li>}
          {hasMore && <li><button type="button" className="button quiet wide" onClick={() => void moreOfList()}>{say("more")}</button></li>}
        </ul>
        <Settings />
      </nav>
      {isMenuOpen && <div className="veil" onClick={() => set({ isMenuOpen: false })} aria-hidden="true" />}
    </>
  );
}

function Search({ value }: { value: string }): ReactElement {
  const say = useSay();
  const [text, setText] = useState(value);
  useEffect(() => {
    if (text === value) return;
    const timer = setTimeout(() => searchFor(text), 200);
    return () => clearTimeout(timer);
  }, [text, value]);
  return (
    <label className="search">
      <Icon name="search" size={16} />
      <input id="search" type="search" value={text} aria-label={say("search")} placeholder={say("search")} onChange={(event) => setText(event.target.value)} />
    </label>
  );
}

function Entry({ item, isOpen }: { item: ConversationItem; isOpen: boolean }): ReactElement {
  const say = useSay();
  const title = item.title || say("untitled");
  return (
    <li className={`entry${isOpen ? " is-open" : ""}`}>
      <a href={`#/c/${encodeURIComponent(item.id)}`} aria-current={isOpen ? "page" : undefined} onClick={() => set({ isMenuOpen: false })}>
        <span className="entry-title">{title}</span>
        <span className="entry-when">{say.day(item.changed)}</span>
      </a>
      <ConversationMenu id={item.id} title={item.title} label={`${say("options")}: ${title}`} />
    </li>
  );
}

export function ConversationMenu({ id, title, label }: { id: string; title: string; label: string }): ReactElement {
  const say = useSay();
  const [dialog, setDialog] = useState<"rename" | "forget" | null>(null);
  const [text, setText] = useState(title);
  const close = () => setDialog(null);
  return (
    <>
      <Menu label={label} items={[
        { icon: "pencil", label: say("rename"), act: () => { setText(title); setDialog("rename"); } },
        { icon: "download", label: say("exportMarkdown"), act: () => void save(id, title, "markdown") },
        { icon: "download", label: say("exportJson"), act: () => void save(id, title, "json") },
        { icon: "trash", label: say("forget"), act: () => setDialog("forget"), isGrave: true },
      ]}><Icon name="more" /></Menu>
      {dialog === "rename" && (
        <Dialog title={say("rename")} onClose={close}>
          <form onSubmit={(event) => { event.preventDefault(); void rename(id, text.trim()); close(); }}>
            <input className="field" value={text} maxLength={200} aria-label={say("title")} onChange={(event) => setText(event.target.value)} autoFocus />
            <div className="dialog-actions">
              <button type="button" className="button" onClick={close}>{say("cancel")}</button>
              <button type="submit" className="button main" disabled={!text.trim()}>{say("saveIt")}</button>
            </div>
          </form>
        </Dialog>
      )}
      {dialog === "forget" && (
        <Dialog title={say("forgetTitle")} onClose={close}>
          <p className="muted">{say("forgetText")}</p>
          <div className="dialog-actions">
            <button type="button" className="button" onClick={close} autoFocus>{say("cancel")}</button>
            <button type="button" className="button grave" onClick={() => { void forget(id); close(); }}>{say("forgetDo")}</button>
          </div>
        </Dialog>
      )}
    </>
  );
}

function Settings(): ReactElement {
  const say = useSay();
  const { setLanguage } = useContext(Saying);
  const theme = useTheme();
  const hasKey = useStore((state) => state.me?.keys_required ?? false) && key() !== null;
  const view = useStore((state) => state.view);
  return (
    <div className="settings">
      <a className="setting" href="#/account" aria-current={view === "account" ? "page" : undefined} onClick={() => set({ isMenuOpen: false })}>
        <Icon name="key" size={16} />{say("account")}
      </a>
      <div className="setting-row">
        <label className="select">
          <span className="hidden">{say("language")}</span>
          <select value={say.language} onChange={(event) => setLanguage(event.target.value as Language)}>
            {Object.entries(LANGUAGES).map(([name, label]) => <option key={name} value={name} lang={name}>{label}</option>)}
          </select>
          <Icon name="down" size={13} />
        </label>
        <label className="select">
          <span className="hidden">{say("theme")}</span>
          <select value={theme} onChange={(event) => setTheme(event.target.value as Theme)}>
            <option value="auto">{say("themeAuto")}</option>
            <option value="light">{say("themeLight")}</option>
            <option value="dark">{say("themeDark")}</option>
          </select>
          <Icon name="down" size={13} />
        </label>
        {hasKey && <button type="button" className="icon-button" aria-label={say("signOut")} title={say("signOut")} onClick={signOut}><Icon name="close" size={16} /></button>}
      </div>
    </div>
  );
}
