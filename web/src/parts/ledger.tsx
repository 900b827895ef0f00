// What a run took: one line that opens to a table by agent.

import type { ReactElement } from "react";

import type { Ledger } from "../data/events";
import type { Run } from "../data/run";
import { useSay } from "../words";
import { Icon } from "./icons";

export function LedgerLine({ run, ledger }: { run: Run; ledger: Ledger }): ReactElement {
  const say = useSay();
  const brief = [
    ...(ledger.agents > 1 ? [say("agents", { n: ledger.agents })] : []),
    ...(ledger.looks ? [say("looks", { n: ledger.looks })] : []),
    `${say.number(ledger.thought_tokens)} ${say("thoughtTokens")} + ${say.number(ledger.answer_tokens)} ${say("answerTokens")}`,
    say.seconds(ledger.seconds),
    ...(ledger.cost !== null ? [say.number(ledger.cost, 4)] : []),
    ...(ledger.estimated ? [say("estimated")] : []),
  ];
  const numberOf = (id: string) => run.agents.find((agent) => agent.id === id)?.number ?? id;
  const rows = ledger.by_agent.map((row) => ({ name: say("agent", { n: numberOf(row.agent_id) }), ...row }));
  const columns = [
    ["promptTokens", "prompt_tokens"], ["cachedTokens", "cached_tokens"], ["thoughtTokens", "thought_tokens"],
    ["answerTokens", "answer_tokens"], ["toolCalls", "tool_calls"], ["looksName", "looks"],
  ] as const;
  return (
    <details className="ledger">
      <summary>
        <span className="hidden">{say("ledger")}: </span><span>{brief.join(" · ")}</span><Icon name="down" size={13} />
      </summary>
      <div className="table-box" tabIndex={0} role="region" aria-label={say("ledger")}>
        <table>
          <thead>
            <tr>
              <th scope="col"><span className="hidden">{say("board")}</span></th>
              {columns.map(([name]) => <th key={name} scope="col">{say(name)}</th>)}
              <th scope="col">{say("time")}</th>
              {ledger.cost !== null && <th scope="col">{say("cost")}</th>}
            </tr>
          </thead>
          <tbody>
            {rows.length > 1 && rows.map((row) => (
              <tr key={row.agent_id}>
                <th scope="row">{row.name}</th>
                {columns.map(([name, field]) => <td key={name}>{say.number(row[field])}</td>)}
                <td>{say.seconds(row.seconds)}</td>
                {ledger.cost !== null && <td>{row.cost === null ? "" : say.number(row.cost, 4)}</td>}
              </tr>
            ))}
            <tr className="sum">
              <th scope="row">{say("total")}</th>
              {columns.map(([name, field]) => <td key={name}>{say.number(ledger[field])}</td>)}
              <td>{say.seconds(ledger.seconds)}</td>
              {ledger.cost !== null && <td>{say.number(ledger.cost, 4)}</td>}
            </tr>
          </tbody>
        </table>
      </div>
      <p className="muted small">
        {say("criticalPath")}: {say.seconds(ledger.critical_path_s)}
        {ledger.flops !== null && <> · {say("arithmetic")}: {flops(ledger.flops, say.number)} FLOP</>}
      </p>
    </details>
  );
}

function flops(value: number, number: (value: number, digits?: number) => string): string {
  const units: [number, string][] = [[1e15, "P"], [1e12, "T"], [1e9, "G"], [1e6, "M"]];
  const [unit, name] = units.find(([size]) => value >= size) ?? [1, ""];
  return `${number(value / unit, 1)} ${name}`;
}
