// Keys, and what was used.

import { useEffect, useState, type FormEvent, type ReactElement } from "react";

import { signIn } from "../data/actions";
import { api, type KeyItem, type Quota, type UsageDay } from "../data/api";
import { useStore } from "../data/state";
import { Icon, Mark } from "../parts/icons";
import { copyText } from "../parts/markdown";
import { useSay } from "../words";

const DAYS = 30;

export function Account(): ReactElement {
  const say = useSay();
  const me = useStore((state) => state.me);
  const openId = useStore((state) => state.openId);
  return (
    <div className="account">
      <a className="back" href={openId ? `#/c/${encodeURIComponent(openId)}` : "#/"}><Icon name="left" size={16} />{say("back")}</a>
      <h1>{say("account")}</h1>
      <p className="muted">{me?.keys_required ? say("signedInAs", { user: me.user }) : say("noKeysNeeded")}</p>
      <Usage />
      {me?.keys_required && <Keys />}
      <section>
        <h2>{say("keyboard")}</h2>
        <dl className="keyboard">
          {([["kbSend", "Enter"], ["kbLine", "Shift + Enter"], ["kbStop", "Esc"], ["kbSearch", "Ctrl + K"], ["kbNew", "Ctrl + Shift + O"]] as const).map(([name, keys]) => (
            <div key={name}><dt>{say(name)}</dt><dd>{keys.split(" + ").map((one) => <kbd key={one}>{one}</kbd>)}</dd></div>
          ))}
        </dl>
      </section>
    </div>
  );
}

function Usage(): ReactElement {
  const say = useSay();
  const [found, setFound] = useState<{ data: UsageDay[]; quota: Quota | null } | null>(null);
  const [trouble, setTrouble] = useState<string | null>(null);
  useEffect(() => {
    api.usage(DAYS).then(setFound, (error: Error) => setTrouble(error.message));
  }, []);
  const days = [...(found?.data ?? [])].sort((one, other) => one.day.localeCompare(other.day));
  const asked = days.filter((day) => day.runs > 0);
  const hasCost = asked.some((day) => day.cost !== null);
  return (
    <section>
      <h2>{say("usage")}</h2>
      <p className="muted small">{say("usageText", { n: DAYS })}</p>
      {trouble && <p className="failure" role="alert">{trouble}</p>}
      {found && asked.length === 0 && <p className="muted">{say("noUsage")}</p>}
      {asked.length > 0 && <>
        <Chart days={days} />
        <div className="table-box" tabIndex={0} role="region" aria-label={say("usage")}>
          <table>
            <thead>
              <tr>
                <th scope="col">{say("day")}</th><th scope="col">{say("runs")}</th><th scope="col">{say("promptTokens")}</th>
                <th scope="col">{say("thoughtTokens")}</th><th scope="col">{say("answerTokens")}</th><th scope="col">{say("time")}</th>
                {hasCost && <th scope="col">{say("cost")}</th>}
              </tr>
            </thead>
            <tbody>
              {[...asked].reverse().map((day) => (
                <tr key={day.day}>
                  <th scope="row">{day.day}</th><td>{say.number(day.runs)}</td><td>{say.number(day.prompt_tokens)}</td>
                  <td>{say.number(day.thought_tokens)}</td><td>{say.number(day.answer_tokens)}</td><td>{say.seconds(day.agent_seconds)}</td>
                  {hasCost && <td>{day.cost === null ? "" : say.number(day.cost, 4)}</td>}
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      </>}
      {found?.quota && <Limits quota={found.quota} />}
    </section>
  );
}

function Chart({ days }: { days: readonly UsageDay[] }): ReactElement {
  const say = useSay();
  const total = (day: UsageDay) => day.prompt_tokens + day.thought_tokens + day.answer_tokens;
  const byDay = new Map(days.map((day) => [day.day, total(day)]));
  const today = Date.now();
  const bars = Array.from({ length: DAYS }, (_, back) => {
    const day = new Date(today - (DAYS - 1 - back) * 86_400_000).toISOString().slice(0, 10);
    return { day, tokens: byDay.get(day) ?? 0 };
  });
  const most = Math.max(1, ...bars.map((bar) => bar.tokens));
  return (
    <figure className="chart">
      <div className="chart-bars" role="img" aria-label={say("usageChart")}>
        {bars.map((bar) => (
          <span key={bar.day} title={`${bar.day}: ${say.number(bar.tokens)}`}><i style={{ height: `${(100 * bar.tokens) / most}%` }} /></span>
        ))}
      </div>
      <figcaption><span>{bars[0]!.day}</span><span>{say("usageChart")}</span><span>{bars.at(-1)!.day}</span></figcaption>
    </figure>
  );
}

function Limits({ quota }: { quota: Quota }): ReactElement {
  const say = useSay();
  return (
    <>
      <h3>{say("quota")}</h3>
      <dl className="keyboard">
        {Object.entries(quota).filter(([, value]) => value !== null && typeof value !== "object").map(([name, value]) => (
          <div key={name}><dt>{name.replace(/_/g, " ")}</dt><dd>{typeof value === "number" ? say.number(value, Number.isInteger(value) ? 0 : 2) : value}</dd></div>
        ))}
      </dl>
    </>
  );
}

function Keys(): ReactElement {
  const say = useSay();
  const [keys, setKeys] = useState<KeyItem[] | null>(null);
  const [name, setName] = useState("");
  const [made, setMade] = useState<string | null>(null);
  const [isCopied, setCopied] = useState(false);
  const [trouble, setTrouble] = useState<string | null>(null);
  const refresh = () => api.keys().then((found) => setKeys(found.data), (error: Error) => setTrouble(error.message));
  useEffect(() => void refresh(), []);
  const make = async (event: FormEvent) => {
    event.preventDefault();
    try {
      setMade((await api.newKey(name.trim())).key);
      setName("");
      setCopied(false);
      await refresh();
    } catch (error) {
      setTrouble((error as Error).message);
    }
  };
  const drop = async (item: KeyItem) => {
    await api.dropKey(item.id).catch((error: Error) => setTrouble(error.message));
    await refresh();
  };
  return (
    <section>
      <h2>{say("keys")}</h2>
      <p className="muted small">{say("keysText")}</p>
      {trouble && <p className="failure" role="alert">{trouble}</p>}
      <ul className="keys">
        {keys?.map((item) => (
          <li key={item.id}>
            <Icon name="key" size={16} /><span className="grow">{item.name}{item.prefix && <code>{item.prefix}…</code>}</span>
            {item.created !== undefined && <span className="muted small">{say.day(item.created)}</span>}
            <button type="button" className="icon-button" aria-label={say("dropKey", { name: item.name })} title={say("dropKey", { name: item.name })} onClick={() => void drop(item)}><Icon name="trash" size={16} /></button>
          </li>
        ))}
        {keys?.length === 0 && <li className="muted">{say("noKeys")}</li>}
      </ul>
      {made && (
        <div className="made" role="status">
          <p>{say("keyOnce")}</p>
          <code>{made}</code>
          <button type="button" className="button" onClick={() => void copyText(made).then(() => setCopied(true))}><Icon name={isCopied ? "check" : "copy"} size={15} />{isCopied ? say("copied") : say("copy")}</button>
        </div>
      )}
      <form className="inline-form" onSubmit={(event) => void make(event)}>
        <input className="field" value={name} maxLength={100} placeholder={say("keyName")} aria-label={say("keyName")} onChange={(event) => setName(event.target.value)} />
        <button type="submit" className="button main" disabled={!name.trim()}>{say("make")}</button>
      </form>
    </section>
  );
}

export function SignIn(): ReactElement {
  const say = useSay();
  const [value, setValue] = useState("");
  const [trouble, setTrouble] = useState<string | null>(null);
  const enter = async (event: FormEvent) => {
    event.preventDefault();
    setTrouble(await signIn(value));
  };
  return (
    <main className="sign-in">
      <form onSubmit={(event) => void enter(event)}>
        <Mark size={40} />
        <h1>{say("needKey")}</h1>
        <p className="muted">{say("needKeyText")}</p>
        <input className="field" type="password" autoComplete="current-password" value={value} aria-label={say("key")} placeholder={say("key")} onChange={(event) => setValue(event.target.value)} autoFocus />
        {trouble && <p className="failure" role="alert">{trouble}</p>}
        <button type="submit" className="button main wide" disabled={!value.trim()}>{say("signIn")}</button>
        <p className="fine">{say("footer")}</p>
      </form>
    </main>
  );
}
