import type { ReactElement } from "react";

import { Mark } from "../parts/icons";
import { useSay } from "../words";

export function Welcome(): ReactElement {
  const say = useSay();
  return (
    <div className="welcome">
      <Mark size={44} />
      <h1>{say("welcome")}</h1>
      <p>{say("welcomeText")}</p>
    </div>
  );
}
