// Run by npm before it packs this directory and when a program is installed from it: `npm install
// ./path/to/this` makes a link and leaves dist and the dependencies to us. A package that was
// packed has all it needs, so there, without sources of a build, nothing is done.
//
// Usage: prepare.mjs [options of build.mjs]
import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const scripts = dirname(fileURLToPath(import.meta.url));
const root = join(scripts, "..");

if (existsSync(join(scripts, "build.mjs"))) {
  if (!existsSync(join(root, "node_modules", "typescript"))) {
    execFileSync("npm", ["ci", "--include=dev", "--ignore-scripts"], {
      cwd: root,
      stdio: "inherit",
    });
  }
  execFileSync(process.execPath, [join(scripts, "build.mjs"), ...process.argv.slice(2)], {
    stdio: "inherit",
  });
}
