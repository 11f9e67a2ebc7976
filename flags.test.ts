import { afterAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import fs from "node:fs";
import net from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import zlib from "node:zlib";

import { BASE_URL, DEST_DIR, POP20_CC, TIMEOUT_MS } from "./flags.ts";
import { getFlag, saveFlag } from "./flags.ts";

// The tests wait for events. This only ends what would never end.
setDefaultTimeout(90_000);

const FLAGS_TS = join(import.meta.dir, "flags.ts");
const ALPHABETICAL = [...POP20_CC].sort();
const POSIX = process.platform !== "win32";

// The tester's proxies are not to be asked, nor are there to be colours.
for (const name of Object.keys(process.env)) {
  if (/_proxy$|^FORCE_COLOR$/i.test(name)) delete process.env[name];
}
process.env["NO_COLOR"] = "1";

const root = fs.mkdtempSync(join(tmpdir(), "flags-"));
afterAll(() => fs.rmSync(root, { recursive: true, force: true }));

/** A new, empty folder. */
function folder(): string {
  return fs.mkdtempSync(join(root, "folder-"));
}

/** A new folder with flags.ts and, under these names, other scripts. */
function project(scripts: Record<string, string> = {}): string {
  const cwd = folder();
  fs.copyFileSync(FLAGS_TS, join(cwd, "flags.ts"));
  for (const [name, code] of Object.entries(scripts)) {
    fs.writeFileSync(join(cwd, name), code);
  }
  return cwd;
}

/** What the servers here have for a country: 4 kB in the shape of a GIF. */
function image(cc: string): Buffer<ArrayBuffer> {
  return Buffer.from(`GIF89a${cc.toLowerCase().repeat(2000)};`);
}

/** What a folder holds once the flags of `codes` are saved in it. */
function flags(codes: readonly string[]): Record<string, Buffer> {
  return Object.fromEntries(codes.map((cc) => [`${cc}.gif`, image(cc)]));
}

/** What a folder holds. */
function contents(path: string): Record<string, Buffer> {
  const names = fs.readdirSync(path);
  const entry = (name: string) => [name, fs.readFileSync(join(path, name))];
  return Object.fromEntries(names.map(entry));
}

/**
 * A server of flags that takes notes. It holds its answers until `together`
 * requests are in, and a little longer, to see whether there are more.
 */
function flagServer({
  together = 1,
  reply = (cc: string): Response | Promise<Response> => new Response(image(cc)),
} = {}) {
  const asked: string[] = [];
  const clients = new Set<number | undefined>();
  const held: (() => void)[] = [];
  let atOnce = 0;
  const release = () => {
    atOnce = Math.max(atOnce, held.length);
    for (const answer of held.splice(0)) answer();
  };
  let waiting: Timer | undefined;
  const server = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    async fetch(request) {
      const { pathname } = new URL(request.url);
      asked.push(pathname);
      clients.add(server.requestIP(request)?.port);
      clearTimeout(waiting);
      const { promise, resolve } = Promise.withResolvers<void>();
      const enough = held.push(resolve) >= together;
      waiting = setTimeout(release, enough ? 2 + together * 10 : 20_000);
      await promise;
      return reply(pathname.slice(-6, -4));
    },
  });
  return {
    url: `${server.url.origin}/flags`,
    asked,
    notes: () => ({ atOnce, connections: clients.size }),
    [Symbol.dispose]: () => void server.stop(true),
  };
}

/** What a socket's client gets: bytes and the end, or whatever is done to it. */
type Fault = Buffer | ((socket: net.Socket, request: string) => unknown);

/** A server with the flags of all countries but BR, where there is a fault. */
async function faultyServer(fault: Fault) {
  const sockets = new Set<net.Socket>();
  const server = net.createServer((socket) => {
    sockets.add(socket);
    socket.on("close", () => sockets.delete(socket));
    socket.on("error", () => {}); // clients may hang up
    socket.on("data", (data) => {
      const request = String(data);
      const cc = /^GET \/(..)\/\1\.gif /.exec(request)?.[1] ?? "br";
      if (cc !== "br") socket.write(http("200 OK", image(cc)));
      else if (typeof fault === "function") fault(socket, request);
      else socket.end(fault);
    });
  });
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  const { port } = server.address() as net.AddressInfo;
  return {
    url: `http://127.0.0.1:${port}`,
    [Symbol.dispose]() {
      server.close();
      for (const socket of sockets) socket.destroy();
    },
  };
}

/** An answer as it goes over the wire. */
function http(
  status: string,
  body: string | Uint8Array = "",
  headers = [`Content-Length: ${body.length}`],
): Buffer {
  const head = [`HTTP/1.1 ${status}`, ...headers, "", ""].join("\r\n");
  return Buffer.concat([Buffer.from(head), Buffer.from(body)]);
}

function redirect(url: string): Buffer {
  return http("302 Found", "", [`Location: ${url}`, "Content-Length: 0"]);
}

interface RunOptions {
  script?: string;
  cwd?: string;
  env?: Record<string, string>;
  stdout?: "pipe" | number;
}

/** Starts the script as a user does. */
function start(
  args: string[],
  { script = FLAGS_TS, cwd = folder(), env, stdout = "pipe" }: RunOptions = {},
) {
  return Bun.spawn([process.execPath, script, ...args], {
    cwd,
    env: { ...process.env, ...env },
    stdout,
    stderr: "pipe",
  });
}

/** Runs the script as a user does. Tells the codes from the last line. */
async function run(args: string[], options?: RunOptions) {
  const { stdout, stderr, exited } = start(args, options);
  const piped = stdout instanceof ReadableStream;
  const output = piped ? await stdout.text() : "";
  const [, shown = "", count] = /^(.*?)(\d+) .*\n$/s.exec(output) ?? [];
  const codes = shown.replaceAll("\n", "").trim();
  const errors = await stderr.text();
  return { codes, count: Number(count), output, errors, status: await exited };
}

/** Runs a shell's line on a terminal and returns what stands on the screen. */
async function screen(line: string, cwd: string) {
  const decoder = new TextDecoder();
  let shown = "";
  const terminal = {
    data(_: unknown, bytes: Uint8Array) {
      shown += decoder.decode(bytes, { stream: true });
    },
  };
  const bun = `bun() { "$0" "$@"; }; npx() { shift 3; bun "$@"; }`;
  const command = ["sh", "-c", `${bun}; ${line}`];
  const options = { cwd, env: process.env, terminal };
  await Bun.spawn([...command, process.execPath], options).exited;
  return shown.replaceAll("\r\n", "\n");
}

// Made for these tests and good for nothing else: a certificate for localhost.
const TEST_KEY = `-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgpeyVa4dI6AgrPtTH
grdSHgoT9FtcmjW1sHQ/IA4TV/ehRANCAAR5g+0ieLHTZoloyxBDG+FyyyZGiCRB
HY882jTe4hclFTe/CiIRsKWVJiELSQtXrs+wN0dTbeHmURZac1zv4qh6
-----END PRIVATE KEY-----`;
const TEST_CERT = `-----BEGIN CERTIFICATE-----
MIIBlTCCATugAwIBAgIUC/2LrvbBhO1/3gM+je3m/mVsCYkwCgYIKoZIzj0EAwIw
FDESMBAGA1UEAwwJbG9jYWxob3N0MCAXDTI2MTEyNDAzNTkxNFoYDzIxMjYxMDMx
MDM1OTE0WjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwWTATBgcqhkjOPQIBBggqhkjO
PQMBBwNCAAR5g+0ieLHTZoloyxBDG+FyyyZGiCRBHY882jTe4hclFTe/CiIRsKWV
JiELSQtXrs+wN0dTbeHmURZac1zv4qh6o2kwZzAdBgNVHQ4EFgQU8Zo6xZfPSblN
wlAcz218Vr8+CyEwHwYDVR0jBBgwFoAU8Zo6xZfPSblNwlAcz218Vr8+CyEwDwYD
VR0TAQH/BAUwAwEB/zAUBgNVHREEDTALgglsb2NhbGhvc3QwCgYIKoZIzj0EAwID
SAAwRQIhALOPFeRIufTyLaQwJiMWUOcwv/4qimy4lWcR+KNHtTUeAiBVg1neR5l0
UiOifmPA6jBok8AhiG4hD7sk9LLxxb3rIg==
-----END CERTIFICATE-----`;

/** The environment of a run that trusts this certificate. */
function trust() {
  const ca = join(folder(), "ca.pem");
  fs.writeFileSync(ca, TEST_CERT);
  return { NODE_EXTRA_CA_CERTS: ca };
}

describe.concurrent("bun flags.ts", () => {
  test("saves the 20 flags in downloaded/, as the server has them", async () => {
    using server = flagServer();
    const cwd = folder();
    const { errors, status } = await run(["--server", server.url], { cwd });
    expect({ errors, status }).toEqual({ errors: "", status: 0 });
    expect(fs.readdirSync(cwd)).toEqual(["downloaded"]);
    expect(contents(join(cwd, "downloaded"))).toEqual(flags(POP20_CC));
  });

  test("shows the codes, then the count and the seconds", async () => {
    using server = flagServer();
    const { output } = await run(["--server", server.url]);
    expect(output).toMatch(
      /^BD BR CD CN DE EG ET FR ID IN IR JP MX NG PH PK RU TR US VN \n20 downloads in \d+\.\d\ds\n$/,
    );
  });

  test("shows each code as soon as its file is saved", async () => {
    const cwd = folder();
    const output = join(cwd, "output");
    const seen: string[] = [];
    using server = flagServer({
      reply(cc) {
        const files = fs.readdirSync(cwd).filter((name) => name !== "output");
        seen.push(`${fs.readFileSync(output, "utf8")}${files.sort()}`);
        return new Response(image(cc));
      },
    });
    const args = ["-s", server.url, "-d", ".", "br", "cn", "us"];
    await start(args, { cwd, stdout: fs.openSync(output, "w") }).exited;
    expect(seen).toEqual(["", "BR BR.gif", "BR CN BR.gif,CN.gif"]);
  });

  test("asks for one flag at a time, in alphabetical order, over one connection", async () => {
    using server = flagServer();
    await run(["--server", server.url]);
    const codes = ALPHABETICAL.map((cc) => cc.toLowerCase());
    expect(server.asked).toEqual(codes.map((cc) => `/flags/${cc}/${cc}.gif`));
    expect(server.notes()).toEqual({ atOnce: 1, connections: 1 });
  });

  test("takes codes in any case, and repeats once", async () => {
    using server = flagServer();
    const cwd = folder();
    const args = ["us", "-d", "a/b", "Br", "-t", "3600", "US", "-s"];
    const ran = await run([...args, server.url], { cwd });
    expect(ran).toMatchObject({
      codes: "BR US",
      count: 2,
      errors: "",
      status: 0,
    });
    expect(contents(join(cwd, "a", "b"))).toEqual(flags(["BR", "US"]));
  });

  test("takes a server in capitals and with slashes at its end", async () => {
    using server = flagServer();
    const url = `${server.url.replace("http", "HTTP")}//`;
    expect((await run(["br", "--server", url])).status).toBe(0);
    expect(server.asked).toEqual(["/flags/br/br.gif"]);
  });

  test.skipIf(!POSIX).each([
    ["on a terminal", "", true],
    ["in one file", ">both 2>&1; cat both", true],
    ["in a pipe without them", "2>errors | cat", false],
  ])("shows failures on lines of their own %s", async (...row) => {
    const [, redirection, hasErrors] = row;
    using server = flagServer({
      reply(cc) {
        const status = "br ru us".includes(cc) ? 404 : 200;
        return new Response(image(cc), { status });
      },
    });
    const command = `bun flags.ts -s ${server.url} br cd cn ru us vn`;
    const shown = await screen(`${command} ${redirection}`, project());
    const line = (cc: string) =>
      `${cc.toUpperCase()}: HTTP 404 Not Found: ${server.url}/${cc}/${cc}.gif\n`;
    const failed = (...codes: string[]) =>
      hasErrors ? codes.map(line).join("") : "";
    expect(shown.replace(/\d\.\d\ds/, "#s")).toBe(
      `${failed("br")}CD CN \n${failed("ru", "us")}VN \n3 downloads in #s\n`,
    );
  });
});

describe.concurrent("bun flags.ts --demo", () => {
  test("needs flags.ts alone, no network and no proxy", async () => {
    const cwd = project();
    // Nobody listens there, and the user's exception does not matter here.
    const env = { HTTP_PROXY: "http://127.0.0.1:1", no_proxy: "a.test" };
    const ran = await run(["--demo"], { script: "flags.ts", cwd, env });
    const { codes, errors, status } = ran;
    expect(codes).toBe(ALPHABETICAL.join(" "));
    expect({ errors, status }).toEqual({ errors: "", status: 0 });
  });

  test("saves GIFs in demo/, so that real flags stay", async () => {
    const cwd = folder();
    await run(["--demo", "br", "us"], { cwd });
    expect(fs.readdirSync(cwd)).toEqual(["demo"]);
    const demo = contents(join(cwd, "demo"));
    expect(Object.keys(demo).sort()).toEqual(["BR.gif", "US.gif"]);
    // In ImageMagick and giflib it is teal, white and violet, in two rows.
    expect(demo["BR.gif"]!.toString("base64")).toBe(
      "R0lGODlhAwACAJEAAACbm////45ErQAAACwAAAAAAwACAAACBEQoMCoAOw==",
    );
  });

  test("saves elsewhere if --dest says so", async () => {
    const cwd = folder();
    await run(["--demo", "br", "--dest", "x"], { cwd });
    expect(fs.readdirSync(cwd)).toEqual(["x"]);
  });

  test("has no flags but the 20", async () => {
    const { codes, count, errors, status } = await run(["--demo", "ch"]);
    expect([codes, count, status]).toEqual(["", 0, 1]);
    expect(errors).toMatch(
      /^CH: HTTP 404 Not Found: http:\/\/127\.0\.0\.1:\d+\/ch\/ch\.gif\n$/,
    );
  });

  test("waits before each answer, from 50 to 150 ms at random", async () => {
    const script = `
      const { sleep } = Bun;
      const waits: number[] = [];
      Bun.sleep = (ms) => (waits.push(Number(ms)), sleep(ms));
      const { downloadMany, main } = await import("./flags.ts");
      await main(downloadMany);
      console.error(JSON.stringify(waits));`;
    const cwd = project({ "waits.ts": script });
    const { errors } = await run(["--demo"], { cwd, script: "waits.ts" });
    const waits: number[] = JSON.parse(errors);
    expect(waits).toHaveLength(20);
    expect(Math.min(...waits)).toBeGreaterThanOrEqual(50);
    expect(Math.max(...waits)).toBeLessThanOrEqual(150);
    expect(new Set(waits).size).toBeGreaterThan(10);
  });

  test("stops its server in the end", async () => {
    const script = `
      import { main } from "./flags.ts";
      let url = "";
      await main(async (_, { baseUrl }) => ((url = baseUrl), 20));
      await fetch(url).catch((error) => console.error(error.code));
      process.exit();`;
    const cwd = project({ "after.ts": script });
    const { errors } = await run(["--demo"], { cwd, script: "after.ts" });
    expect(errors).toBe("ECONNREFUSED\n");
  });
});

describe.concurrent("the command line", () => {
  const AMBIGUOUS = (option: string) =>
    `Option '${option}' argument is ambiguous.\n` +
    `Did you forget to specify the option argument for '${option}'?\n` +
    "To specify an option argument starting with a dash use ";
  const UNKNOWN =
    "Unknown option '--no'. To specify a positional argument starting with a " +
    "'-', place it at the end of the command after '--', as in '-- \"--no\"";
  const NEGATIVE = `${AMBIGUOUS("-t")}'--timeout=-XYZ' or '-t-XYZ'.`;
  const OPTION = `${AMBIGUOUS("--dest")}'--dest=-XYZ'.`;
  const MISSING = "Option '-d, --dest <value>' argument missing";
  const SWITCH = "Option '--demo' does not take an argument";
  const TIMEOUT = "--timeout takes seconds, up to 3600, not ";
  const SERVER = "--server takes an http:// or https:// URL";
  const USER =
    "--server takes no user name or password: error messages would show them";
  const DEMO = "--demo brings its own server: leave out --server";
  test.each([
    ["an unknown option", ["--no"], UNKNOWN],
    ["an option without its value", ["--dest"], MISSING],
    ["an option for a value", ["--dest", "--demo"], OPTION],
    ["a negative number behind a blank", ["-t", "-5"], NEGATIVE],
    ["a value for a switch", ["--demo=yes"], SWITCH],
    ["a timeout of zero", ["--timeout", "0"], `${TIMEOUT}"0"`],
    ["a negative timeout", ["--timeout=-1"], `${TIMEOUT}"-1"`],
    ["a timeout above an hour", ["-t", "3600.1"], `${TIMEOUT}"3600.1"`],
    ["a timeout in words", ["-t", "soon"], `${TIMEOUT}"soon"`],
    ["an empty timeout", ["-t", ""], `${TIMEOUT}""`],
    ["a server that is no URL", ["-s", "example.test"], SERVER],
    ["a server without a host", ["-s", "http://"], SERVER],
    ["a server of another protocol", ["-s", "ftp://x.test"], SERVER],
    ["a server of a similar protocol", ["-s", "xhttp://x.test"], SERVER],
    ["another similar protocol", ["-s", "httpsx://x.test"], SERVER],
    ["an empty server", ["--server="], SERVER],
    ["a user name", ["-s", "http://me@x.test"], USER],
    ["a password", ["-s", "https://:secret@x.test"], USER],
    ["--demo with a server", ["--demo", "-s", "http://x.test"], DEMO],
  ])("is refused with %s", async (_, args, what) => {
    const cwd = folder();
    const errors = `${what}\nTry 'bun flags.ts --help'.\n`;
    const ran = await run(args, { cwd });
    expect(ran).toMatchObject({ output: "", errors, status: 2 });
    expect(fs.readdirSync(cwd)).toEqual([]);
  });

  test("is refused with a folder that cannot be made, and nothing is requested", async () => {
    using server = flagServer();
    const cwd = folder();
    fs.writeFileSync(join(cwd, "file"), "");
    const args = ["br", "-s", server.url, "-d", "file/new"];
    const { output, errors, status } = await run(args, { cwd });
    expect([output, status]).toEqual(["", 2]);
    expect(errors).toBe("ENOTDIR: not a directory, mkdir 'file/new'\n");
    expect(server.asked).toEqual([]);
  });

  test.each([[["-h"]], [["--help", "-t", "soon", "br", "-s", "x"]]])(
    "shows help and no more for %j",
    async (args) => {
      const cwd = folder();
      const { output, errors, status } = await run(args, { cwd });
      expect(output).toStartWith("Usage: bun flags.ts [options] [CC ...]\n");
      expect({ errors, status }).toEqual({ errors: "", status: 0 });
      expect(fs.readdirSync(cwd)).toEqual([]);
    },
  );

  test("has a help with the defaults, in 80 columns", async () => {
    const { output } = await run(["--help"]);
    for (const value of [BASE_URL, DEST_DIR, TIMEOUT_MS / 1000, "demo/"]) {
      expect(output).toContain(`${value}`);
    }
    const widths = output.split("\n").map((line) => line.length);
    expect(Math.max(...widths)).toBeLessThanOrEqual(80);
  });
});

describe.concurrent("a flag", () => {
  const gif = image("br");
  const half = gif.subarray(0, 2000);
  const length = `Content-Length: ${gif.length}`;
  const PAGE = "<h1>Log in</h1>;";
  const elsewhere = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    fetch: ({ url }) => new Response(PAGE, { status: Number(url.slice(-3)) }),
  });
  const tls = { key: TEST_KEY, cert: TEST_CERT }; // for localhost
  const fetchGif = () => new Response(gif);
  const secure = Bun.serve({ port: 0, tls, fetch: fetchGif });
  afterAll(() => Promise.all([elsewhere, secure].map((it) => it.stop(true))));
  const other = elsewhere.url.href;
  const secureUrl = `https://localhost:${secure.port}`;

  const type = "Content-Type: ";
  const smtp = "220 mail.test ESMTP at your service\r\n";
  const chunked = "Transfer-Encoding: chunked";
  const ADVICE = // of the runtime's, and left to it
    ". For more information, pass `verbose: true` in the second argument to fetch()";
  function encoded(encoding: string, body: Uint8Array) {
    const size = `Content-Length: ${body.length}`;
    return http("200 OK", body, [`Content-Encoding: ${encoding}`, size]);
  }

  /** What the line says after the code, with URL for the flag's address. */
  const reported: Record<string, Record<string, Fault>> = {
    "HTTP 404 Not Found: URL": { "a 404": http("404 Not Found", gif) },
    "HTTP 418 I'm a teapot: URL": { "a 418": http("418 I'm a teapot") },
    "HTTP 500 Oh no. Sir: URL": { "a 500": http("500 Oh no. Sir") },
    "HTTP 304 Not Modified: URL": { "a 304": http("304 Not Modified", "", []) },
    "HTTP 302 Found: URL": { "a redirect to nowhere": http("302 Found") },
    [`HTTP 404 Not Found: ${other}404`]: {
      "a redirect to a 404": redirect(`${other}404`),
    },
    [`not a complete GIF: ${other}200`]: {
      "a redirect to a login page": redirect(`${other}200`),
    },
    "not a complete GIF: URL": {
      "a 204": http("204 No Content", "", []),
      "an empty answer": http("200 OK"),
      "a login page called a GIF": http("200 OK", PAGE, [`${type}image/gif`]),
      "a body without its end": http("200 OK", half, []),
      "a body without its start": http("200 OK", gif.subarray(9)),
    },
    "connection lost: URL": {
      "a body below its length": http("200 OK", half, [length]),
      "a chunk cut short": http("200 OK", `fff\r\n${half}`, [chunked]),
      "a reset": (socket) => socket.resetAndDestroy(),
      "a connection closed at once": Buffer.from(""),
    },
    "connection refused: URL": {
      "a redirect to a closed port": redirect("http://127.0.0.1:1"),
    },
    "network unreachable: URL": {
      "a redirect to no network": redirect("http://255.255.255.255"),
    },
    "no such host: URL": {
      "a redirect to no host": redirect(`http://${"x".repeat(64)}.test`),
    },
    "self signed certificate": { "no trust": redirect(secureUrl) },
    [`TooManyRedirects: The response redirected too many times${ADVICE}`]: {
      "a redirect in a loop": redirect("/br/br.gif"),
    },
    [`UnsupportedRedirectProtocol fetching "URL"${ADVICE}`]: {
      "a redirect to a file": redirect(Bun.pathToFileURL(FLAGS_TS).href),
    },
    [`Malformed_HTTP_Response fetching "URL"${ADVICE}`]: {
      "another protocol": (socket) => socket.write(smtp),
    },
    [`ZlibError fetching "URL"${ADVICE}`]: {
      "broken gzip": encoded("gzip", zlib.gzipSync(gif).subarray(0, 30)),
    },
    [`ResponseHeadersTooLarge fetching "URL"${ADVICE}`]: {
      "a header of 4 MiB": http("200 OK", gif, [`X: ${"x".repeat(4 << 20)}`]),
    },
  };
  const rows = Object.entries(reported).flatMap(([line, faults]) =>
    Object.entries(faults).map(([name, fault]) => [name, fault, line] as const),
  );
  test.each(rows)(
    "is reported and not saved after %s, and others are",
    async (...row) => {
      const [, fault, line] = row;
      using server = await faultyServer(fault);
      const cwd = folder();
      fs.writeFileSync(join(cwd, "BR.gif"), "older");
      const args = ["-s", server.url, "-d", ".", "-t", "60", "br", "cn", "us"];
      const { codes, errors, status } = await run(args, { cwd });
      // fetch itself says a word of its own about broken compression.
      const report = errors.replace("Decompression error: ZlibError\n", "");
      const url = `${server.url}/br/br.gif`;
      expect(report).toBe(`BR: ${line.replace("URL", url)}\n`);
      expect([codes, status]).toEqual(["CN US", 1]);
      expect(contents(cwd)).toEqual({
        ...flags(["CN", "US"]),
        "BR.gif": Buffer.from("older"),
      });
    },
  );

  test("is reported after a 404 cut short, as a 404 or as cut short", async () => {
    using server = await faultyServer(http("404 No", half, [length]));
    const ran = await run(["-s", server.url, "br", "cn"]);
    expect(ran).toMatchObject({ codes: "CN", status: 1 });
    const line = ran.errors.replace(`${server.url}/br/br.gif`, "URL");
    expect(["BR: HTTP 404 No: URL\n", "BR: connection lost: URL\n"]).toContain(
      line,
    );
  });

  const { Z_SYNC_FLUSH: finishFlush } = zlib.constants; // a part, not the last
  const zeros = zlib.deflateRawSync(Buffer.alloc(1 << 20), { finishFlush });
  const gzipStart = Buffer.from("1f8b0800000000000003", "hex");
  const gzipHead = http("200 OK", gzipStart, ["Content-Encoding: gzip"]);
  test.each<[string, Buffer, Buffer]>([
    ["no answer", Buffer.from(""), Buffer.from("")],
    ["a stall amid the head", Buffer.from("HTTP/1.1 200"), Buffer.from("")],
    ["a stall amid the body", http("200 OK", half, [length]), Buffer.from("")],
    ["a drip of bytes without end", http("200 OK", "", []), Buffer.from("G")],
    ["gzip without end", gzipHead, zeros],
  ])("is given up in time after %s", async (_, start, more) => {
    using server = await faultyServer((socket) => {
      socket.write(start);
      const drip = setInterval(() => socket.write(more), 20);
      socket.on("close", () => clearInterval(drip));
    });
    const ran = await run(["-s", server.url, "-t", "0.3", "br"]);
    const { codes, errors, status } = ran;
    expect([codes, status]).toEqual(["", 1]);
    expect(errors).toBe("BR: The operation timed out.\n");
  });

  test.each<[string, Fault]>([
    ["a redirect", redirect("/us/us.gif")],
    ["a redirect to https", redirect(secureUrl)],
    ["gzip", encoded("gzip", zlib.gzipSync(gif))],
    ["deflate", encoded("deflate", zlib.deflateSync(gif))],
    ["br", encoded("br", zlib.brotliCompressSync(gif))],
    ["zstd", encoded("zstd", zlib.zstdCompressSync(gif))],
    ["no Content-Length", http("200 OK", gif, [])],
    ["another Content-Type", http("200 OK", gif, [`${type}text/html`])],
    ["a close without notice", http("200 OK", gif)],
  ])("is saved with %s", async (_, fault) => {
    using server = await faultyServer(fault);
    const cwd = folder();
    const args = ["-s", server.url, "-d", ".", "br", "cn"];
    const { codes, errors, status } = await run(args, { cwd, env: trust() });
    expect([codes, errors, status]).toEqual(["BR CN", "", 0]);
    const saved = contents(cwd);
    expect(saved["BR.gif"]!.subarray(0, 6).toString()).toBe("GIF89a");
    expect(saved["BR.gif"]).toHaveLength(gif.length);
    expect(Object.keys(saved).sort()).toEqual(["BR.gif", "CN.gif"]);
  });

  test("is not taken from a host with another host's certificate", async () => {
    const url = `https://127.0.0.1:${secure.port}`;
    const { errors } = await run(["br", "-s", url], { env: trust() });
    expect(errors).toBe(`BR: certificate of another host: ${url}/br/br.gif\n`);
  });

  const noNetwork = ["unshare", "--map-root-user", "--net"];
  const canCut =
    Bun.which("unshare") && Bun.spawnSync([...noNetwork, "true"]).success;
  test.skipIf(!canCut)("is reported plainly without a network", async () => {
    const command = [...noNetwork, process.execPath, FLAGS_TS, "br"];
    const options = {
      cwd: folder(),
      env: process.env,
      stderr: "pipe",
    } as const;
    const child = Bun.spawn(command, options);
    expect(await child.stderr.text()).toBe(
      `BR: cannot look up the host: ${BASE_URL}/br/br.gif\n`,
    );
  });

  test("is reported if its code is not two letters, and nothing is requested", async () => {
    using server = flagServer();
    const cwd = folder();
    const bad = ["", "../X", "B1", "BR\n", "BRA", "ÅL"];
    const args = ["-s", server.url, "-d", "in", "br", ...bad.toReversed()];
    const { codes, errors, status } = await run(args, { cwd });
    expect({ codes, status }).toEqual({ codes: "BR", status: 1 });
    const lines = bad.map((cc) => `${cc}: not a two-letter code: "${cc}"\n`);
    expect(errors).toBe(lines.join(""));
    expect(server.asked).toEqual(["/flags/br/br.gif"]);
    expect(fs.readdirSync(cwd)).toEqual(["in"]);
  });
});

describe.concurrent.skipIf(!POSIX)("an older flag", () => {
  /** A folder with an older flag, and a run that gets a newer one into it. */
  async function replace(script: string, shell = 'exec "$0" "$@"') {
    using server = flagServer();
    const cwd = project({ "script.ts": script });
    const dest = join(cwd, "flags");
    fs.mkdirSync(dest);
    fs.writeFileSync(join(dest, "BR.gif"), "older");
    const args = ["script.ts", "-s", server.url, "-d", "flags", "br"];
    const child = Bun.spawn(["sh", "-c", shell, process.execPath, ...args], {
      cwd,
      env: process.env,
      stdout: "ignore",
      stderr: "pipe",
    });
    const errors = await child.stderr.text();
    const status = await child.exited;
    return { errors, status, signal: child.signalCode, dest };
  }
  const older = { "BR.gif": Buffer.from("older") };
  const plain = `import { downloadMany, main } from "./flags.ts";
    await main(downloadMany);`;

  test("is still there, and no other file, when the disk is full", async () => {
    // Files are cut at 512 or 1,024 bytes, like on a disk that is full.
    const shell = 'ulimit -f 1; exec "$0" "$@"';
    const { errors, status, dest } = await replace(plain, shell);
    expect(errors).toMatch(
      /^BR: EFBIG: file too large, write 'flags\/BR\.gif\.[-0-9a-f]{36}\.tmp'\n$/,
    );
    expect(status).toBe(1);
    expect(contents(dest)).toEqual(older);
  });

  test("is still there when the script is killed amid writing; a .tmp may be left", async () => {
    const killed = `import fs from "node:fs";
      Bun.write = (path) => {
        fs.writeFileSync(String(path), "GIF89a, half of i");
        process.kill(process.pid, "SIGKILL");
        return new Promise(() => {});
      };
      ${plain}`;
    const { signal, dest } = await replace(killed);
    expect(signal).toBe("SIGKILL");
    const { "BR.gif": flag, ...left } = contents(dest);
    expect(flag).toEqual(older["BR.gif"]);
    expect(Object.keys(left)).toEqual([expect.stringMatching(/\.tmp$/)]);
  });
});

describe.concurrent("several runs", () => {
  test("into one folder at once all succeed", async () => {
    using server = flagServer();
    const cwd = folder();
    const args = ["-s", server.url, "-d", "."];
    const runs = [1, 2, 3].map(() => run(args, { cwd }));
    for (const { status } of await Promise.all(runs)) expect(status).toBe(0);
    expect(contents(cwd)).toEqual(flags(POP20_CC));
  });
});

describe.concurrent.skipIf(!POSIX)("the script", () => {
  test("ends at once and without a word on Ctrl-C", async () => {
    const child = start(["--demo"]);
    await (child.stdout as ReadableStream).getReader().read(); // amid its work
    child.kill("SIGINT");
    await child.exited;
    expect(child.signalCode).toBe("SIGINT");
    expect(await child.stderr.text()).toBe("");
  });

  test.each([
    ["goes away", "", "head -c 3"],
    ["is full when it goes away", "head -c 65536 /dev/zero;", "sleep 0.5"],
  ])(
    "saves all flags, and says nothing, when its output %s",
    async (...row) => {
      const [, before, reader] = row;
      const cwd = project();
      const line = `{ ${before} bun flags.ts --demo; echo $? >status; } | ${reader}`;
      expect(await screen(line, cwd)).toBe(before ? "" : "BD ");
      expect(fs.readdirSync(join(cwd, "demo"))).toHaveLength(20);
      expect(fs.readFileSync(join(cwd, "status"), "utf8")).toBe("0\n");
    },
  );

  test.skipIf(!fs.existsSync("/dev/full")).each([
    ["all flags", ["--demo", "br", "us"], "", 0, ["BR.gif", "US.gif"]],
    ["a failure", ["--demo", "br", "ch"], "CH: HTTP 404 ", 1, ["BR.gif"]],
    ["help", ["--help"], "", 0, []],
  ])("does as ever with %s when its output is full", async (...row) => {
    const [, args, line, expected, files] = row;
    const cwd = folder();
    const stdout = fs.openSync("/dev/full", "w");
    const { errors, status } = await run([...args, "-d", "x"], { cwd, stdout });
    expect(errors).toMatch(line ? RegExp(`^${line}.*\n$`) : /^$/);
    expect(status).toBe(expected);
    const saved = files.length > 0 ? fs.readdirSync(join(cwd, "x")) : [];
    expect(saved.sort()).toEqual(files);
  });
});

describe.concurrent("imported", () => {
  /** Runs a script that imports flags.ts from its own folder. */
  async function imported(code: string, env: Record<string, string> = {}) {
    const cwd = project({ "script.ts": code });
    const { output, errors } = await run([], { script: "script.ts", cwd, env });
    return { output, errors, cwd };
  }

  test("it does nothing", async () => {
    const { output, errors, cwd } = await imported('import "./flags.ts";');
    expect({ output, errors }).toEqual({ output: "", errors: "" });
    expect(fs.readdirSync(cwd).sort()).toEqual(["flags.ts", "script.ts"]);
  });

  test("it has the constants of the book", () => {
    expect(POP20_CC.join(" ")).toBe(
      "CN IN US ID BR PK NG BD RU JP MX PH VN ET EG DE IR TR CD FR",
    );
    expect(BASE_URL).toBe("https://www.fluentpython.com/data/flags");
    expect(DEST_DIR).toBe("downloaded");
    expect(TIMEOUT_MS).toBe(6100);
  });

  test("saveFlag saves bytes in a new folder, in place of an older file", async () => {
    const destDir = join(folder(), "new");
    await saveFlag(image("us"), "BR.gif", { destDir });
    await saveFlag(image("br"), "BR.gif", { destDir });
    expect(contents(destDir)).toEqual(flags(["BR"]));
  });

  test("saveFlag saves one name many times at once", async () => {
    const destDir = folder();
    const save = () => saveFlag(image("br"), "BR.gif", { destDir });
    await Promise.all(Array.from({ length: 50 }, save));
    expect(contents(destDir)).toEqual(flags(["BR"]));
  });

  test.skipIf(!POSIX)("saveFlag replaces a link, not its target", async () => {
    const destDir = folder();
    const target = join(folder(), "target");
    fs.writeFileSync(target, "precious");
    fs.symlinkSync(target, join(destDir, "BR.gif"));
    await saveFlag(image("br"), "BR.gif", { destDir });
    expect(fs.lstatSync(join(destDir, "BR.gif")).isFile()).toBe(true);
    expect(fs.readFileSync(target, "utf8")).toBe("precious");
  });

  test("saveFlag throws what the file system throws, once it has cleaned up", async () => {
    const destDir = folder();
    fs.mkdirSync(join(destDir, "BR.gif"));
    const left = (error: { code: string }) => {
      return [error.code, ...fs.readdirSync(destDir)];
    };
    for (let i = 0; i < 50; i++) {
      const saved = saveFlag(image("br"), "BR.gif", { destDir });
      expect(await saved.catch(left)).toEqual(["EISDIR", "BR.gif"]);
    }
    const file = join(destDir, "file");
    fs.writeFileSync(file, "");
    const saved = saveFlag(image("br"), "BR.gif", { destDir: file });
    await expect(saved).rejects.toThrow("ENOTDIR: not a directory, open ");
  });

  test("getFlag returns the bytes of a code in either case", async () => {
    using server = flagServer();
    const options = { baseUrl: `${server.url}/` };
    expect(Buffer.from(await getFlag("br", options))).toEqual(image("br"));
    expect(Buffer.from(await getFlag("BR", options))).toEqual(image("br"));
    expect(server.asked).toEqual(Array(2).fill("/flags/br/br.gif"));
  });

  test("getFlag throws RangeError for what is no code", async () => {
    for (const cc of ["", "B", "B1", "BRA", "br\n", "\u212Ae", "ß", "../x"]) {
      const error = await getFlag(cc).catch((error) => error);
      expect(error).toBeInstanceOf(RangeError);
      expect(error.message).toBe(`not a two-letter code: "${cc}"`);
    }
  });

  test("getFlag throws what fetch throws", async () => {
    const refused = getFlag("br", { baseUrl: "http://127.0.0.1:1" });
    await expect(refused).rejects.toMatchObject({
      name: "TypeError",
      code: "ECONNREFUSED",
      path: "http://127.0.0.1:1/br/br.gif",
    });
    using silent = await faultyServer(() => {});
    const late = getFlag("br", { baseUrl: silent.url, timeoutMs: 50 });
    await expect(late).rejects.toMatchObject({ name: "TimeoutError" });
  });

  test.each([
    ["HTTP 503 Busy", http("503 Busy", "x"), 503],
    ["not a complete GIF", http("200 OK", "<h1>Log in</h1>"), 200],
  ])("getFlag throws '%s' with the Response as its cause", async (...row) => {
    const [message, fault, status] = row;
    using server = await faultyServer(fault);
    const error = await getFlag("br", { baseUrl: server.url }).catch((e) => e);
    expect(error.message).toBe(`${message}: ${server.url}/br/br.gif`);
    expect(error.cause).toBeInstanceOf(Response);
    expect(error.cause.status).toBe(status);
  });

  test("getFlag leaves no connection open after a failure with a long body", async () => {
    const { promise: allClosed, resolve } = Promise.withResolvers<void>();
    const head = http("404 Not Found", "x", ["Content-Length: 1000000"]);
    let open = 0;
    using server = await faultyServer((socket) => {
      open++;
      socket.on("close", () => --open === 0 && resolve());
      socket.write(head);
    });
    const options = { baseUrl: server.url, timeoutMs: 3_600_000 };
    const get = () => getFlag("br", options).catch((error) => error);
    const errors = await Promise.all([get(), get(), get()]);
    await allClosed; // and not only at the end of the time limit
    expect(errors.map(({ cause }) => cause.status)).toEqual([404, 404, 404]);
  }, 40_000);

  test("downloadOne saves and shows a code as given, from a function of one's own", async () => {
    using server = flagServer();
    const { output, errors, cwd } = await imported(`
      import { downloadOne, getFlag } from "./flags.ts";
      const options = { destDir: "flags" };
      const get: typeof getFlag = async (cc, given) => {
        if (given !== options) throw "other options";
        if (!/^[A-Za-z]{2}$/.test(cc)) return Buffer.from("not to be saved");
        if (cc === "CN") throw "no Error";
        if (cc === "DE") throw Object.assign(Error("no URL"), { code: "ECONNRESET" });
        return getFlag(cc, { baseUrl: "${server.url}" });
      };
      for (const cc of ["BR", "us", "CN", "DE", "../X"]) {
        console.log(await downloadOne(cc, options, get));
      }`);
    expect(output).toBe("BR true\nus true\n\nfalse\nfalse\nfalse\n");
    expect(errors).toBe(
      'CN: no Error\nDE: no URL\n../X: not a two-letter code: "../X"\n',
    );
    const saved = { "BR.gif": image("BR"), "us.gif": image("us") };
    expect(contents(join(cwd, "flags"))).toEqual(saved);
  });

  test("downloadMany sorts codes, counts, and leaves its list as it was", async () => {
    using server = flagServer({
      reply: (cc) =>
        new Response(image(cc), { status: cc === "cn" ? 404 : 200 }),
    });
    const { output, cwd } = await imported(`
      import { downloadMany } from "./flags.ts";
      const codes = Object.freeze(["US", "BR", "VN", "CN"]);
      const options = { baseUrl: "${server.url}", destDir: "flags" };
      console.log(await downloadMany(codes, options));`);
    expect(output).toBe("BR \nUS VN 3\n");
    expect(contents(join(cwd, "flags"))).toEqual(flags(["BR", "US", "VN"]));
  });

  test("all options may be left out", async () => {
    const requests: string[] = [];
    using proxy = await faultyServer((socket, request) => {
      requests.push(request.split("\r\n")[0]!);
      socket.end(http("502 Bad Gateway"));
    });
    const code = `
      import { downloadMany, downloadOne, getFlag, saveFlag } from "./flags.ts";
      const { timeout } = AbortSignal;
      AbortSignal.timeout = (ms) => (console.log(ms), timeout(ms));
      await getFlag("br").catch(({ message }) => console.log(message));
      await downloadOne("IN");
      await downloadMany(["US"]);
      await saveFlag(new Uint8Array([1, 2, 3]), "x.gif");`;
    const ran = await imported(code, { HTTPS_PROXY: proxy.url });
    const refused = "Proxy refused to open a tunnel: 502 Bad Gateway";
    const ms = TIMEOUT_MS;
    expect(ran.output).toBe(`${ms}\n${refused}\n${ms}\n${ms}\n`);
    expect(ran.errors).toBe(`IN: ${refused}\nUS: ${refused}\n`);
    expect(requests).toEqual(
      Array(3).fill("CONNECT www.fluentpython.com:443 HTTP/1.1"),
    );
    expect(contents(join(ran.cwd, "downloaded"))).toEqual({
      "x.gif": Buffer.from([1, 2, 3]),
    });
  });

  const baseUrl = "http://x.test/y";
  const given = { baseUrl, destDir: "a/b", timeoutMs: 1500 };
  const defaults = {
    baseUrl: BASE_URL,
    destDir: DEST_DIR,
    timeoutMs: TIMEOUT_MS,
  };
  test.each([
    ["the defaults", "", POP20_CC, defaults],
    [
      "what the arguments say",
      `, ["us", "br", "-t", "1.5", "-d", "a/b", "-s", "${baseUrl}"]`,
      ["US", "BR"],
      given,
    ],
  ])(
    "main makes the folder, gives a downloader %s, times it, and sets the exit status",
    async (...row) => {
      const [, args, codes, options] = row;
      const { output, errors } = await imported(`
      import fs from "node:fs";
      import { main } from "./flags.ts";
      await Bun.sleep(500); // the clock starts later
      const start = performance.now();
      await main(async (codes, options) => {
        console.error(JSON.stringify([codes, options, fs.existsSync(options.destDir)]));
        await Bun.sleep(250);
        return 1;
      }${args});
      console.error(process.exitCode, (performance.now() - start) / 1000);`);
      const [, got, status, total] = /^(.*)\n(.) (.*)\n$/.exec(errors)!;
      expect(JSON.parse(got!)).toEqual([codes, options, true]);
      expect(status).toBe("1");
      const [, seconds] = /^1 downloads in (.*)s\n$/.exec(output)!;
      expect(Number(seconds)).toBeWithin(0.25, Number(total) + 0.01);
    },
  );

  test("main leaves the error of a downloader to its author", async () => {
    const { errors } = await imported(`
      import { main } from "./flags.ts";
      const bug = async () => { throw new Error("a bug"); };
      await main(bug).catch((error) => console.error(error.message));`);
    expect(errors).toBe("a bug\n");
  });

  test("main's help and advice name the script that was run", async () => {
    const { output, errors } = await imported(`
      import { downloadMany, main } from "./flags.ts";
      await main(downloadMany, ["--help"]);
      await main(downloadMany, ["-t", ""]);`);
    expect(output).toStartWith("Usage: bun script.ts ");
    expect(errors).toEndWith("\nTry 'bun script.ts --help'.\n");
  });
});

const README = join(import.meta.dir, "README.md");
describe.concurrent.skipIf(!fs.existsSync(README))("README.md", () => {
  const readme = fs.existsSync(README) ? fs.readFileSync(README, "utf8") : "";
  const blocks = (language: string) => {
    const fence = RegExp(`^\`\`\`${language}\n(.*?)^\`\`\``, "gms");
    return [...readme.matchAll(fence)].map(([, block]) => block!);
  };
  const [excerpt, ...named] = blocks("ts");
  const scripts = Object.fromEntries(
    named.map((block) => [/^\/\/ (\w+\.ts) /.exec(block)![1]!, block]),
  );

  test("shows downloadMany as it is, and the example of flags.ts", () => {
    const source = fs.readFileSync(FLAGS_TS, "utf8");
    expect(source).toContain(excerpt!);
    const [, ...example] = scripts["concurrent.ts"]!.split(/\n+/);
    const comments = source.replace(/^ \* ?/gm, "").replace(/\n+/g, "\n");
    expect(comments).toContain(example.join("\n"));
  });

  /** Sets apart what differs from run to run: time, port and, at times, order. */
  function comparable(output: string, inOrder: boolean) {
    const sorted = (codes: string) => codes.split(" ").sort().join(" ");
    return output
      .trimEnd()
      .replace(/ +$/gm, "")
      .replace(/^[A-Z]{2}( [A-Z]{2}){19}$/m, inOrder ? String : sorted)
      .replace(/ in \d+\.\d\ds$/gm, " in #s")
      .replace(/127\.0\.0\.1:\d+/g, "127.0.0.1:#");
  }
  const seconds = (output: string) => Number(/ in (.*)s$/m.exec(output)?.[1]);

  /** Checks an output of which chance decides which flags are in time. */
  function expectSomeInTime(output: string) {
    const late = output.match(/^[A-Z]{2}: The operation timed out\.$/gm) ?? [];
    const saved = output.match(/\b[A-Z]{2}(?= |$)/gm) ?? [];
    const codes = output.match(/\b[A-Z]{2}\b/g) ?? [];
    expect([...codes]).toEqual(ALPHABETICAL);
    expect(saved.length + late.length).toBe(20);
    expect(output).toMatch(RegExp(`^${saved.length} downloads in .*s$`, "m"));
  }

  const shown = blocks("console").flatMap((block) =>
    [...block.matchAll(/^\$ (.*)\n((?:(?!\$ ).*\n)*)/gm)].map(
      ([, command, output]) => [command!, output!] as const,
    ),
  );
  test.skipIf(!POSIX).each(shown)("shows what '%s' prints", async (...row) => {
    const [command, output] = row;
    const real = await screen(command, project(scripts));
    if (/ -t /.test(command)) {
      expectSomeInTime(real);
      return expectSomeInTime(output);
    }
    const inOrder = !/concurrent|bounded/.test(command);
    expect(comparable(real, inOrder)).toBe(comparable(output, inOrder));
    if (!inOrder) {
      expect(real, "as requested").not.toStartWith(`${POP20_CC.join(" ")} `);
    }
    if (/ in .*s$/m.test(output)) {
      const most = 2 * seconds(real); // as delays are random
      expect(seconds(output), "README.md's seconds").toBeLessThan(most);
    }
  });

  test("concurrent.ts shows each of 50 failures among 100 flags on a line of its own", async () => {
    const letters = [..."ABCDEFGHIJ"];
    const codes = letters.flatMap((a) => letters.map((b) => a + b));
    const status = (cc: string) => (cc.charCodeAt(1) % 2 === 0 ? 404 : 200);
    using server = flagServer({
      together: 100,
      reply: (cc) => new Response(image(cc), { status: status(cc) }),
    });
    const line = `bun concurrent.ts -s ${server.url} ${codes.join(" ")}`;
    const command = `${line} >both 2>&1; echo $? >>both; cat both`;
    const both = await screen(command, project(scripts));
    expect(server.notes().atOnce).toBe(100);
    const lines = both.trimEnd().split("\n");
    expect(lines.pop()).toBe("1");
    expect(lines.pop()).toMatch(/^50 downloads in \d+\.\d\ds$/);
    const [bad, good] = [/^([A-Z]{2}): HTTP 404 .*$/, /^([A-Z]{2} )+$/];
    const other = (line: string) => !bad.test(line) && !good.test(line);
    expect(lines.filter(other)).toEqual([]);
    const seen = lines.join(" ").match(/\b[A-Z]{2}\b/g) ?? [];
    expect([...seen].sort()).toEqual(codes);
  });

  test.each([1, 5])("bounded.ts %d asks for so many at a time", async (n) => {
    using server = flagServer({ together: n });
    const options = { cwd: project(scripts), script: "bounded.ts" };
    const { count } = await run([`${n}`, "-s", server.url], options);
    expect([count, server.notes().atOnce]).toEqual([20, n]);
  });

  test("bounded.ts wants a whole number first", async () => {
    const options = { cwd: project(scripts), script: "bounded.ts" };
    for (const args of [[], ["--demo"], ["0"], ["2.5"]]) {
      const { output, errors, status } = await run(args, options);
      expect([output, status]).toEqual(["", 2]);
      expect(errors).toBe(
        "N, a whole number, comes first: bun bounded.ts 5 --demo\n",
      );
    }
  });

  /** Runs retry.ts with a server that answers to the nth question for a flag. */
  async function retry(
    args: string[],
    reply: (cc: string, n: number) => number | "nothing",
  ) {
    const times: Record<string, number> = {};
    using server = flagServer({
      reply(cc) {
        const status = reply(cc, (times[cc] = (times[cc] ?? 0) + 1));
        if (status === "nothing") return new Promise(() => {});
        return new Response(image(cc), { status });
      },
    });
    const options = { cwd: project(scripts), script: "retry.ts" };
    const ran = await run(["-s", server.url, "-d", "x", ...args], options);
    const saved = fs.readdirSync(join(options.cwd, "x")).sort();
    return {
      ...ran,
      errors: ran.errors.replaceAll(server.url, ""),
      times,
      saved,
    };
  }

  test("retry.ts asks again after a 503, up to five times, and not after a 404", async () => {
    const ran = await retry(["us", "br", "cn", "de"], (cc, n) => {
      const status = { br: n < 3 ? 503 : 200, cn: 404, de: 503 }[cc];
      return status ?? 200;
    });
    expect(ran.times).toEqual({ br: 3, cn: 1, de: 5, us: 1 });
    expect(ran.saved).toEqual(["BR.gif", "US.gif"]);
    expect(ran.output).toMatch(/^BR \nUS \n2 downloads in .*s\n$/);
    expect(ran.errors).toBe(
      "CN: HTTP 404 Not Found: /cn/cn.gif\nDE: HTTP 503 Service Unavailable: /de/de.gif\n",
    );
    expect(ran.status).toBe(1);
  });

  test("retry.ts asks again when time was up", async () => {
    const reply = (_: string, n: number) => (n < 3 ? "nothing" : 200);
    const ran = await retry(["br", "-t", "0.5"], reply);
    expect(ran).toMatchObject({ codes: "BR", errors: "", saved: ["BR.gif"] });
    expect(ran.times["br"]).toBeGreaterThanOrEqual(3);
  });

  const CI = join(import.meta.dir, ".ci", "run");
  test.skipIf(!fs.existsSync(CI))(
    "names the test command and the Bun of CI",
    () => {
      const manifest = join(import.meta.dir, "package.json");
      const json = JSON.parse(fs.readFileSync(manifest, "utf8"));
      const { devDependencies, engines } = json;
      const bun = `bun@${devDependencies["@types/bun"]}`;
      const ci = fs.readFileSync(CI, "utf8");
      const npx = `npx --prefer-offline --yes ${bun}`;
      for (const text of [readme, ci]) {
        expect(text).toMatch(RegExp(`^${npx} test\\b`, "m"));
        expect(new Set(text.match(/bun@[^\s`]+/g))).toEqual(new Set([bun]));
      }
      expect(readme).toContain(`$ ${npx} flags.ts --demo\n`);
      expect(readme).toContain(`(${engines.bun.replace(">=", "")} or later`);
    },
  );

  const types = join(import.meta.dir, "node_modules");
  test.skipIf(!fs.existsSync(join(types, "@types", "bun")))(
    "has scripts and settings that type-check, under strict options too",
    async () => {
      const settings = {
        types: ["bun"],
        target: "ESNext",
        module: "nodenext",
        allowImportingTsExtensions: true,
        noEmit: true,
      };
      for (const name of Object.keys(settings)) {
        const named = readme.includes(`\`${name}\``);
        expect(named, `README.md names ${name}`).toBe(true);
      }
      const strict = `strict exactOptionalPropertyTypes isolatedModules
        noUncheckedIndexedAccess noUnusedLocals noUnusedParameters
        noImplicitReturns noPropertyAccessFromIndexSignature
        erasableSyntaxOnly verbatimModuleSyntax`.split(/\s+/);
      const flags = Object.fromEntries(strict.map((name) => [name, true]));
      const compilerOptions = { ...settings, ...flags };
      const cwd = project({
        ...scripts,
        "package.json": '{"type": "module"}',
        "tsconfig.json": JSON.stringify({ compilerOptions }),
      });
      fs.symlinkSync(types, join(cwd, "node_modules"), "junction");
      const command = [process.execPath, "check"];
      const options = { cwd, stdout: "pipe", stderr: "ignore" } as const;
      const check = Bun.spawn(command, options);
      expect(await check.stdout.text()).toBe("");
      expect(await check.exited).toBe(0);
    },
  );
});
