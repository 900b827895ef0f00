import react from "@vitejs/plugin-react";
import { defineConfig, type Plugin } from "vite";

/** Every browser that runs this page reads woff2; KaTeX's other two forms of each font would triple what is shipped. */
const onlyWoff2: Plugin = {
  name: "only-woff2",
  enforce: "pre",
  transform: (code, id) => (id.includes("katex.min.css") ? code.replace(/,url\([^)]+\.(?:woff|ttf)\) format\("[^"]+"\)/g, "") : null),
};

// The page goes where the server looks for it, and from there into the wheel.
export default defineConfig({
  plugins: [react(), onlyWoff2],
  base: "./",
  build: {
    outDir: "../narthex/serve/dist",
    emptyOutDir: true,
    target: "es2022",
    // The page's content policy knows no data: fonts, styles or scripts.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    chunkSizeWarningLimit: 900, // the limit that counts is scripts/size.mjs
  },
});
