import { useEffect, useState } from "react";

import { isOver, type Run } from "../data/run";

/** Seconds since the run began: by its events, and by this machine's clock between them. */
export function useSeconds(run: Run): number {
  const isRunning = !isOver(run);
  const [, tick] = useState(0);
  useEffect(() => {
    if (!isRunning) return;
    const timer = setInterval(() => tick((count) => count + 1), 250);
    return () => clearInterval(timer);
  }, [isRunning]);
  if (!isRunning) return run.ledger?.seconds ?? run.t;
  return run.t + (Date.now() - run.seenAt) / 1000;
}
