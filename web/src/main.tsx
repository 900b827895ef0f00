import { createRoot } from "react-dom/client";

import { App } from "./app";
import "./fonts.css";
import "./page.css";

createRoot(document.getElementById("root")!).render(<App />);
