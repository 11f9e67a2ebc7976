import { afterAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import fs from "node:fs";
import net from "node:net";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import zlib from "node:zlib";

import { BASE_URL, DEST_DIR, POP20_CC, TIMEOUT_MS } from "./flags.ts";
import { explain, getFlag, saveFlag } from "./flags.ts";

// The tests wait for events, not for a time. But a script that hangs is ended
// after this time, and its test fails and shows what the script had said.
const HANG_MS = 45_000;
setDefaultTimeout(3 * HANG_MS);

// What a tester has set for Bun is not meant for the scripts that run here.
const foreign = /_proxy$|^(FORCE_COLOR|NODE_TLS|BUN_CONFIG|BUN_OPTIONS)/i;
for (const name of Object.keys(process.env)) {
  if (foreign.test(name)) delete process.env[name];
}
process.env["NO_COLOR"] = "1";

const FLAGS_TS = join(import.meta.dir, "flags.ts");
const ALPHABETICAL = [...POP20_CC].sort().join(" ");
const POSIX = process.platform !== "win32";

// ---- Folders and files ----

const root = fs.mkdtempSync(join(tmpdir(), "flags-"));
afterAll(() => fs.rmSync(root, { recursive: true, force: true }));

/** A new, empty folder. */
function folder(): string {
  return fs.mkdtempSync(join(root, "folder-"));
}

/** A new folder with flags.ts and, under these names, other files. */
function project(files: Record<string, string> = {}): string {
  const cwd = folder();
  fs.copyFileSync(FLAGS_TS, join(cwd, "flags.ts"));
  for (const [name, text] of Object.entries(files)) {
    fs.writeFileSync(join(cwd, name), text);
  }
  return cwd;
}

/** What the servers here have for a country: 4 kB in the shape of a GIF. */
function image(cc: string): Buffer<ArrayBuffer> {
  return Buffer.from(`GIF89a${cc.toLowerCase().repeat(2000)};`);
}

/** A file in a few words, for messages that a person can read. */
function tell(bytes: Buffer): string {
  const [cc, start] = [bytes.toString("latin1", 6, 8), bytes.subarray(0, 20)];
  const isWhole = bytes.equals(image(cc)); // the same to the last byte
  const what = isWhole ? `flag of ${cc}` : JSON.stringify(`${start}`);
  return `${bytes.length} bytes: ${what}`;
}

/** The files in a folder and below it, told by their names. */
function contents(path: string): Record<string, string> {
  const told: Record<string, string> = {};
  const names = fs.readdirSync(path, { recursive: true, encoding: "utf8" });
  for (const name of names.sort()) {
    const file = join(path, name);
    if (fs.statSync(file).isFile()) told[name] = tell(fs.readFileSync(file));
    else if (fs.readdirSync(file).length === 0) told[name] = "an empty folder";
  }
  return told;
}

/** What {@link contents} tells once the flags of `codes` are in a folder. */
function flags(codes: string, inFolder = DEST_DIR): Record<string, string> {
  const entry = (cc: string) =>
    [join(inFolder, `${cc}.gif`), tell(image(cc))] as const;
  return Object.fromEntries(codes.split(" ").filter(Boolean).map(entry));
}

// ---- Runs ----

type Out = "pipe" | Bun.BunFile;

/** Starts a script as a user does: flags.ts in an empty folder, by default. */
function start(
  args: string[],
  { script = FLAGS_TS, cwd = folder(), env = {}, stdout = "pipe" as Out } = {},
) {
  const child = Bun.spawn([process.execPath, script, ...args], {
    cwd,
    env: { ...process.env, ...env },
    stdout,
    stderr: "pipe",
    timeout: HANG_MS,
    killSignal: "SIGKILL",
  });
  running.add(child);
  return child;
}

const running = new Set<Bun.Subprocess>();
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
  process.on(signal, () => {
    for (const child of running) child.kill("SIGKILL");
    fs.rmSync(root, { recursive: true, force: true });
    process.exit(130); // as after Ctrl-C
  });
}

/** The error of a test whose script did not end by itself. */
function hung(command: string, shown: string): Error {
  return new Error(
    `hung for ${HANG_MS / 1000} s: ${command}\nand said: ${shown}`,
  );
}

/** The seconds that the last line of a run says. */
const seconds = new WeakMap<object, number>();

/**
 * Runs a script, and returns all that a user sees of the run, without what
 * differs from run to run: seconds, ports, and what `fetch` itself says of gzip.
 */
async function run(args: string[], options: Parameters<typeof start>[1] = {}) {
  const cwd = options.cwd ?? folder();
  const child = start(args, { ...options, cwd });
  const piped = child.stdout instanceof ReadableStream;
  const output = piped ? await new Response(child.stdout).text() : "";
  const errors = await child.stderr.text();
  await child.exited;
  const script = basename(options.script ?? FLAGS_TS);
  const command = [script, ...args].join(" ");
  if (child.signalCode === "SIGKILL") throw hung(command, output + errors);
  const seen = {
    output: output.replace(/ in \d+\.\d\ds\n$/, " in #s\n"),
    errors: errors
      .replace(/^Decompression error: .*\n/m, "")
      .replaceAll(/127\.0\.0\.1:\d+/g, "HOST"),
    status: child.exitCode,
    files: contents(cwd),
  };
  seconds.set(seen, Number(/ in (.*)s\n$/.exec(output)?.[1]));
  return seen;
}

/** Runs a script that imports flags.ts from its own folder. */
function runSibling(code: string, args: string[] = [], env = {}) {
  const script = join(project({ "sibling.ts": code }), "sibling.ts");
  return run(args, { script, env });
}

/** What a run shows and leaves. `of`: how many were asked for, if not these. */
function saves(codes: string, { of = 0, errors = "", dest = DEST_DIR } = {}) {
  const count = codes.split(" ").filter(Boolean).length;
  const line = `${count}${of ? ` of ${of}` : ""} downloads in #s\n`;
  const output = `${codes}${codes && " \n"}${line}`;
  const files = count > 0 ? flags(codes, dest) : { [dest]: "an empty folder" };
  return { output, errors, status: of ? 1 : 0, files };
}

/** What stands on a terminal in the end, where a shell has run a line. */
async function screen(line: string, cwd: string) {
  const decoder = new TextDecoder();
  let shown = "";
  const terminal = {
    data(_: unknown, bytes: Uint8Array) {
      shown += decoder.decode(bytes, { stream: true });
    },
  };
  const bun = `bun() { "$0" "$@"; }; npx() { shift 4; bun "$@"; }`;
  const command = ["sh", "-c", `${bun}; ${line}`, process.execPath];
  const child = Bun.spawn(command, { cwd, env: process.env, terminal });
  running.add(child);
  let ended = false;
  const hang = setTimeout(() => {
    ended = process.kill(-child.pid, "SIGKILL"); // the shell, and what runs in it
  }, HANG_MS);
  await child.exited;
  clearTimeout(hang);
  if (ended) throw hung(line, shown);
  return shown.replaceAll("\r\n", "\n");
}

// ---- Servers ----

/** Bytes, after which the connection ends, or what is done to a connection. */
type Answer = Uint8Array | ((socket: net.Socket) => unknown);

/** An answer as it goes over the wire. */
function http(
  status: string,
  body: string | Uint8Array = "",
  headers = [`Content-Length: ${Buffer.byteLength(body)}`],
): Buffer {
  const head = [`HTTP/1.1 ${status}`, ...headers, "", ""].join("\r\n");
  return Buffer.concat([Buffer.from(head), Buffer.from(body)]);
}

/**
 * A server with the flags of all countries, which takes notes. `answers` has
 * other answers, by the country code in lower case. Before each answer, the
 * server waits for what `ready` returns.
 */
async function flagServer(
  answers: Record<string, Answer> = {},
  ready: () => unknown = () => {},
) {
  const asked: string[] = [];
  const sockets: net.Socket[] = [];
  const server = net.createServer((socket) => {
    sockets.push(socket);
    socket.on("error", () => {}); // as clients may hang up
    socket.on("data", async (data) => {
      const path = String(data).split(" ")[1]!; // GET /br/br.gif HTTP/1.1
      asked.push(path);
      await ready();
      const cc = path.slice(-6, -4);
      const answer = answers[cc];
      if (!answer) socket.write(http("200 OK", image(cc)));
      else if (typeof answer === "function") answer(socket);
      else socket.end(answer);
    });
  });
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  const { port } = server.address() as net.AddressInfo;
  return {
    origin: `http://127.0.0.1:${port}`,
    url: `http://127.0.0.1:${port}/flags`,
    asked,
    sockets,
    [Symbol.dispose]() {
      server.close();
      for (const socket of sockets) socket.destroy();
    },
  };
}

describe.concurrent("bun flags.ts", () => {
  test("saves the 20 flags in downloaded/ and shows them, in alphabetical order", async () => {
    using server = await flagServer();
    const ran = await run(["--server", server.url]);
    expect(ran).toEqual(saves(ALPHABETICAL));
    const codes = ALPHABETICAL.toLowerCase().split(" ");
    expect(server.asked).toEqual(codes.map((cc) => `/flags/${cc}/${cc}.gif`));
    expect(server.sockets.length, "connections").toBe(1);
  });

  test("shows each code before it asks for the next flag", async () => {
    const cwd = folder();
    const output = join(cwd, "output");
    const seen: string[] = [];
    using server = await flagServer({}, () => {
      const files = fs.readdirSync(cwd).filter((name) => name !== "output");
      seen.push(`${fs.readFileSync(output, "utf8")}${files.sort()}`);
    });
    const args = ["-s", server.url, "-d", ".", "br", "cn", "us"];
    const { errors } = await run(args, { cwd, stdout: Bun.file(output) });
    const expected = ["", "BR BR.gif", "BR CN BR.gif,CN.gif"];
    expect({ errors, seen }).toEqual({ errors: "", seen: expected });
  });

  test("takes codes in any case, and repeats once", async () => {
    using server = await flagServer();
    const args = ["us", "Br", "US", "bR", "-s", server.url];
    expect(await run(args)).toEqual(saves("BR US"));
  });

  test("takes a server in capitals, with slashes and a blank at its end", async () => {
    using server = await flagServer();
    const url = `${server.origin.replace("http", "HTTP")}/@a/b// `;
    expect(await run(["br", "-s", url])).toEqual(saves("BR"));
    expect(server.asked).toEqual(["/@a/b/br/br.gif"]);
  });
});

const GIF = image("br");
const HALF = GIF.subarray(0, 2000);
const LENGTH = `Content-Length: ${GIF.length}`;
const CHUNKED = "Transfer-Encoding: chunked";

function redirect(url: string): Buffer {
  return http("302 Found", "", [`Location: ${url}`, "Content-Length: 0"]);
}

function encoded(encoding: string, body: string | Uint8Array, status = "200") {
  const length = `Content-Length: ${body.length}`;
  return http(`${status} OK`, body, [`Content-Encoding: ${encoding}`, length]);
}

/** Sends a piece again and again, until the client hangs up. */
function endless(head: Uint8Array, piece: Uint8Array): Answer {
  return (socket) => {
    socket.write(head);
    const drip = setInterval(() => socket.write(piece), 20);
    socket.on("close", () => clearInterval(drip));
  };
}

/** The address of a flag as `run` shows it. */
const address = (cc: string) => `http://HOST/flags/${cc}/${cc}.gif`;
const PAGE = "<h1>Log in</h1>;";

describe.concurrent("a flag is reported, and others are saved, after", () => {
  /** Runs flags.ts with a server that has this answer for BR. */
  async function expectReport(line: string, br: Answer) {
    const [yy, zz] = [http("200 OK", PAGE), http("404 Not Found", GIF)];
    using server = await flagServer({ br, yy, zz });
    const cwd = folder();
    fs.writeFileSync(join(cwd, "BR.gif"), "older");
    const args = ["-s", server.url, "-d", ".", "-t", "60", "br", "cn", "us"];
    const errors = `BR: ${line}\n`;
    const expected = saves("CN US", { of: 3, errors, dest: "." });
    expected.files["BR.gif"] = '5 bytes: "older"';
    expect(await run(args, { cwd })).toEqual(expected);
  }

  test.each<[string, Answer, string?]>([
    ["404 Not Found", http("404 Not Found", GIF)],
    ["500 Oh no. Sir", http("500 Oh no. Sir")],
    ["500", http("500")],
    ["500 red 31m turned", http("500 red\u009b31m\u202e\tturned")],
    ["302 Found", http("302 Found")], // to nowhere
    ["304 Not Modified", http("304 Not Modified", "", [])],
    ["404 Not Found", redirect("../zz/zz.gif"), "zz"],
    ["503 OK", encoded("gzip", "this is no gzip", "503")],
    ["404 Long", endless(http("404 Long", GIF, []), GIF)],
  ])("the status %s", async (status, br, from = "br") => {
    await expectReport(`HTTP ${status}: ${address(from)}`, br);
  });

  test.each<[string, Answer, string?]>([
    ["a 204", http("204 No Content", "", [])],
    ["an empty answer", http("200 OK")],
    ["a login page", http("200 OK", PAGE, ["Content-Type: image/gif"])],
    ["a redirect to a login page", redirect("../yy/yy.gif"), "yy"],
    ["a body without its end", http("200 OK", "GIF89a; and so on", [])],
    ["a body without its start", http("200 OK", "GIF or so;")],
  ])("%s, which is no complete GIF", async (_, br, from = "br") => {
    await expectReport(`not a complete GIF: ${address(from)}`, br);
  });

  const offNet = "http://255.255.255.255";
  const noHost = `http://${"x".repeat(64)}.test`;
  const file = Bun.pathToFileURL(FLAGS_TS).href;
  const hello = Buffer.from("220 mail.test ESMTP at your service\r\n");
  test.each<[string, string, Answer]>([
    ["a body below its length", "ECONNRESET", http("200 OK", HALF, [LENGTH])],
    ["a chunk cut short", "ECONNRESET", http("200 OK", "fff\r\nGI", [CHUNKED])],
    ["a reset", "ECONNRESET", (socket) => socket.resetAndDestroy()],
    ["an end without an answer", "ECONNRESET", (socket) => socket.end()],
    ["a redirect to nobody", "ECONNREFUSED", redirect("http://127.0.0.1:1")],
    ["a redirect off the net", "ENETUNREACH", redirect(offNet)],
    ["a redirect to no host", "ENOTFOUND", redirect(noHost)],
    ["a redirect to itself", "TooManyRedirects", redirect("br.gif")],
    ["a redirect to a file", "UnsupportedRedirectProtocol", redirect(file)],
    ["another protocol", "Malformed_HTTP_Response", hello],
    ["broken gzip", "ZlibError", encoded("gzip", "this is no gzip")],
  ])("%s, with the runtime's code", async (_, code, br) => {
    await expectReport(`${code} fetching ${address("br")}`, br);
  });

  test("a proxy that is down, without a word against the server", async () => {
    using server = await flagServer();
    const env = { HTTP_PROXY: "http://127.0.0.1:1" };
    const ran = await run(["br", "-s", server.url], { env });
    const errors = `BR: ECONNREFUSED fetching ${address("br")}\n`;
    expect(ran).toEqual(saves("", { of: 1, errors }));
    expect(server.asked).toEqual([]);
  });
});

describe.concurrent("the time limit", () => {
  const errors = "BR: no whole answer within the time limit\n";
  const { Z_SYNC_FLUSH: finishFlush } = zlib.constants; // a part, not the last
  const zeros = zlib.deflateRawSync(Buffer.alloc(1 << 20), { finishFlush });
  const gzipStart = Buffer.from("1f8b0800000000000003", "hex");
  const gzip = http("200 OK", gzipStart, ["Content-Encoding: gzip"]);
  test.each<[string, Answer]>([
    ["no answer", () => {}],
    ["a stall amid the head", (it) => it.write("HTTP/1.1 200")],
    ["a stall amid the body", (it) => it.write(http("200 OK", HALF, [LENGTH]))],
    ["a drip without end", endless(http("200 OK", "", []), Buffer.from("G"))],
    ["gzip without end", endless(gzip, zeros)],
  ])("ends the wait for a flag after %s", async (_, br) => {
    using server = await flagServer({ br });
    const ran = await run(["-s", server.url, "-t", "1", "br"]);
    expect(ran).toEqual(saves("", { of: 1, errors }));
    expect(server.asked).toEqual(["/flags/br/br.gif"]);
  });

  test("is 6.1 seconds, if nothing is said", async () => {
    using server = await flagServer({ br: () => {} });
    const ran = await run(["-s", server.url, "br"]);
    expect(ran).toEqual(saves("", { of: 1, errors }));
    expect(seconds.get(ran)).toBeWithin(6.1, 10);
  });

  test("may be above 6.1 seconds", async () => {
    using server = await flagServer({}, () => Bun.sleep(6400));
    const ran = await run(["-s", server.url, "-t", "3600", "br"]);
    expect(ran).toEqual(saves("BR"));
  });

  test("is for a whole flag, not counted anew when the answer begins", async () => {
    const stall = http("200 OK", HALF, [LENGTH]);
    using server = await flagServer({
      br: (it) => setTimeout(() => it.write(stall), 2500),
    });
    const ran = await run(["-s", server.url, "-t", "3", "br"]);
    expect(ran).toEqual(saves("", { of: 1, errors }));
    expect(seconds.get(ran)).toBeWithin(3, 5.4);
  });
});

// Made for these tests and good for nothing else: a certificate for localhost.
const TEST_KEY =
  "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgpeyVa4dI6AgrPtTHgrdSHgoT9FtcmjW1sHQ/IA4TV/ehRANCAAR5g+0ieLHTZoloyxBDG+FyyyZGiCRBHY882jTe4hclFTe/CiIRsKWVJiELSQtXrs+wN0dTbeHmURZac1zv4qh6";
const TEST_CERT =
  "MIIBlTCCATugAwIBAgIUC/2LrvbBhO1/3gM+je3m/mVsCYkwCgYIKoZIzj0EAwIwFDESMBAGA1UEAwwJbG9jYWxob3N0MCAXDTI2MTEyNDAzNTkxNFoYDzIxMjYxMDMxMDM1OTE0WjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAAR5g+0ieLHTZoloyxBDG+FyyyZGiCRBHY882jTe4hclFTe/CiIRsKWVJiELSQtXrs+wN0dTbeHmURZac1zv4qh6o2kwZzAdBgNVHQ4EFgQU8Zo6xZfPSblNwlAcz218Vr8+CyEwHwYDVR0jBBgwFoAU8Zo6xZfPSblNwlAcz218Vr8+CyEwDwYDVR0TAQH/BAUwAwEB/zAUBgNVHREEDTALgglsb2NhbGhvc3QwCgYIKoZIzj0EAwIDSAAwRQIhALOPFeRIufTyLaQwJiMWUOcwv/4qimy4lWcR+KNHtTUeAiBVg1neR5l0UiOifmPA6jBok8AhiG4hD7sk9LLxxb3rIg==";
function pem(what: string, base64: string): string {
  const lines = base64.replace(/.{64}/g, "$&\n");
  return `-----BEGIN ${what}-----\n${lines}\n-----END ${what}-----\n`;
}

const CERT = pem("CERTIFICATE", TEST_CERT);
const trust = { NODE_EXTRA_CA_CERTS: join(root, "ca.pem") };
fs.writeFileSync(trust.NODE_EXTRA_CA_CERTS, CERT);

/** A server for https that has the flag of BR at every address. */
function secureServer() {
  const tls = { key: pem("PRIVATE KEY", TEST_KEY), cert: CERT };
  const fetch = () => new Response(GIF);
  return Bun.serve({ hostname: "127.0.0.1", port: 0, tls, fetch });
}

describe.concurrent("a flag is saved", () => {
  test.each<[string, Answer, string?]>([
    ["after a redirect", redirect("/flags/us/us.gif"), tell(image("us"))],
    ["with gzip", encoded("gzip", zlib.gzipSync(GIF))],
    ["with deflate", encoded("deflate", zlib.deflateSync(GIF))],
    ["with br", encoded("br", zlib.brotliCompressSync(GIF))],
    ["with zstd", encoded("zstd", zlib.zstdCompressSync(GIF))],
    ["with no Content-Length", http("200 OK", GIF, [])],
    ["with a Content-Type", http("200 OK", GIF, ["Content-Type: text/html"])],
    [
      "as GIF87a",
      http("200 OK", "GIF87a, older;"),
      '14 bytes: "GIF87a, older;"',
    ],
  ])("%s", async (_, br, told = tell(GIF)) => {
    using server = await flagServer({ br });
    const expected = saves("BR CN");
    expected.files[join(DEST_DIR, "BR.gif")] = told;
    const args = ["-s", server.url, "-t", "60", "br", "cn"];
    expect(await run(args)).toEqual(expected);
  });

  test("after a redirect to https", async () => {
    using secure = secureServer();
    const br = redirect(`https://localhost:${secure.port}`);
    using server = await flagServer({ br });
    const ran = await run(["-s", server.url, "br", "cn"], { env: trust });
    expect(ran).toEqual(saves("BR CN"));
  });

  test.each([
    ["nobody trusts", "localhost", "DEPTH_ZERO_SELF_SIGNED_CERT", {}],
    ["is another's", "127.0.0.1", "ERR_TLS_CERT_ALTNAME_INVALID", trust],
  ])("but not if the certificate %s", async (_, host, code, env) => {
    using secure = secureServer();
    const url = `https://${host}:${secure.port}`;
    const ran = await run(["-s", url, "br"], { env });
    const line = `BR: ${code} fetching ${url}/br/br.gif\n`;
    const errors = line.replace(/127\.0\.0\.1:\d+/, "HOST");
    expect(ran).toEqual(saves("", { of: 1, errors }));
  });
});

const offline = ["unshare", "--map-root-user", "--net", "sh", "-c"];
const canUnshare = ["unshare", "ip"].every((name) => Bun.which(name))
  ? Bun.spawnSync([...offline, "ip link set lo up"]).success
  : false;
describe.concurrent.skipIf(!canUnshare)("without a network", () => {
  test.each([
    ["real flags are reported", "br", `BR: EAI_AGAIN fetching ${BASE_URL}/br/`],
    ["--demo saves its flags", "--demo", `${ALPHABETICAL} \n20 downloads in `],
  ])("%s", async (_, args, start) => {
    const line = `'ip link set lo up; exec "$0" "${FLAGS_TS}" ${args}' "$0"`;
    const shown = await screen(`${offline.join(" ")} ${line}`, folder());
    expect(shown).toStartWith(start);
  });
});

describe.concurrent("bun flags.ts --demo", () => {
  test("needs no proxy, whatever the user has set", async () => {
    // Nobody listens there, and the user's exception does not matter here.
    const env = { HTTP_PROXY: "http://127.0.0.1:1", no_proxy: "a.test" };
    const { errors, status } = await run(["--demo", "br"], { env });
    expect({ errors, status }).toEqual({ errors: "", status: 0 });
  });

  test("leaves the user's proxy in force for other hosts", async () => {
    using proxy = await flagServer({ pp: http("200 OK", "from the proxy") });
    const code = `import { main } from "./flags.ts";
      const get = async () => (await fetch("http://x.test/pp.gif")).text();
      await main(async () => { console.error(await get()); return 20; });`;
    const env = { HTTP_PROXY: proxy.origin };
    const { errors } = await runSibling(code, ["--demo"], env);
    expect(errors).toBe("from the proxy\n");
  });

  test("saves GIFs in demo/, so that real flags stay", async () => {
    const cwd = folder();
    const { files } = await run(["--demo", "br", "us"], { cwd });
    expect(Object.keys(files)).toEqual(["demo/BR.gif", "demo/US.gif"]);
    // In ImageMagick and giflib it is teal, white and violet, in two rows.
    expect(fs.readFileSync(join(cwd, "demo", "BR.gif"), "base64")).toBe(
      "R0lGODlhAwACAJEAAACbm////45ErQAAACwAAAAAAwACAAACBEQoMCoAOw==",
    );
  });

  test("has no flags but the 20, and saves elsewhere if told to", async () => {
    const ran = await run(["--demo", "br", "ch", "-d", "x"]);
    expect(ran.output).toBe("BR \n1 of 2 downloads in #s\n");
    expect(ran.errors).toBe(`CH: HTTP 404 Not Found: http://HOST/ch/ch.gif\n`);
    expect(Object.keys(ran.files)).toEqual(["x/BR.gif"]);
  });

  const source = fs.readFileSync(FLAGS_TS, "utf8").replace(/^ \* ?/gm, "");
  const concurrent = /^```ts\n(.*?)^```/ms.exec(source)?.[1] ?? "no example";

  // Codes of no country of the 20.
  const others = [..."AQWXY"].flatMap((a) =>
    [..."ABCHJKQWXY"].map((b) => a + b),
  );
  const all70 = [...others, ...POP20_CC];

  test("takes half of --delay to one and a half, at random", async () => {
    const late = async (limit: string) => {
      const args = ["--delay", "2", "-t", limit, ...all70];
      const { errors } = await runSibling(concurrent, args);
      return errors.match(/no whole answer/g)?.length ?? 0;
    };
    // Of 70 answers, all but one run in a million has some in each quarter.
    const limits = ["0.95", "1.4", "2.6", "60"];
    const [none, some, most, all] = await Promise.all(limits.map(late));
    expect([none, all]).toEqual([70, 0]);
    const byDefault = seconds.get(await run(["--demo"]));
    expect(byDefault, "seconds for 20 times 0.1").toBeWithin(1.5, 3.5);
    expect([some, most]).not.toContain(70);
    expect([some, most]).not.toContain(0);
  });

  test("answers 503 at once to what is beyond --busy", async () => {
    const args = ["--busy", "7", "--delay", "2"];
    const ran = await runSibling(concurrent, args);
    const line = "..: HTTP 503 Service Unavailable: http://HOST/../...gif\n";
    expect(ran.errors).toMatch(RegExp(`^(${line}){13}$`));
    expect(ran.output).toMatch(/^([A-Z]{2} ){7}\n7 of 20 downloads in #s\n$/);
    expect(Object.keys(ran.files)).toHaveLength(7);
  });

  test("saves all with --busy 1, as it asks for one at a time", async () => {
    const ran = await run(["--busy", "1", "--delay", "0.02"]);
    expect(ran).toEqual({ ...saves(ALPHABETICAL), files: expect.anything() });
  });

  test("mixes no failures with codes, with 70 requests at once", async () => {
    const cwd = project({ "concurrent.ts": concurrent });
    const command = `bun concurrent.ts --demo ${all70.join(" ")}`;
    const both = await screen(`${command} >both 2>&1; cat both`, cwd);
    const other = /^(?!([A-Z]{2}: HTTP 404 .*|([A-Z]{2} )+)$).*$/gm;
    expect(both.match(other)).toEqual([
      expect.stringMatching(/^20 of 70 downloads in /),
      "",
    ]);
    expect(both.match(/\b[A-Z]{2}\b/g)).toHaveLength(70);
  });

  // On Linux, the whole range 127.0.0.0/8 belongs to this machine.
  const isLinux = process.platform === "linux";
  test.skipIf(!isLinux)("is for this machine, until main ends", async () => {
    const code = `import { main } from "./flags.ts";
      let url = "";
      const ask = (url: string) => fetch(url).then(
        (response) => console.error(response.status),
        (error) => console.error(error.code));
      await main(async (_, { baseUrl }) => {
        url = baseUrl + "/br/br.gif";
        await ask(url);
        await ask(url.replace("127.0.0.1", "127.0.0.2"));
        throw "a bug";
      }).catch(console.error);
      await ask(url);`;
    const { errors } = await runSibling(code, ["--demo"]);
    expect(errors).toBe("200\nECONNREFUSED\na bug\nECONNREFUSED\n");
  });

  test("does not keep the script for an answer nobody waits for", async () => {
    const code = `import { main } from "./flags.ts";
      await main(async (codes, { baseUrl }) => {
        fetch(baseUrl + "/br/br.gif").catch(() => {});
        await Bun.sleep(100);
        return codes.length;
      });
      const end = performance.now();
      process.on("exit", () => console.error(performance.now() - end));`;
    const { errors } = await runSibling(code, ["--delay", "4"]);
    expect(errors).toMatch(/^\d+(\.\d+)?\n$/);
    expect(Number(errors)).toBeLessThan(1500); // an answer takes 2000 or more
  });
});

describe.concurrent("the command line", () => {
  const TIMEOUT = "--timeout: seconds, above 0, up to 3600";
  const DELAY = "--delay: seconds, above 0, up to 4";
  const BUSY = "--busy: a whole number above 0";
  const SERVER = "--server: a URL with http(s)://, without user, ? or #";
  const DEMO = "--server: not for a demo, which brings its own";
  const server = ["-s", "http://x.test"];
  test.each([
    ["a timeout of zero", ["--timeout", "0"], TIMEOUT],
    ["a timeout above an hour", ["-t", "3600.1"], TIMEOUT],
    ["a timeout in words", ["-t", "soon"], TIMEOUT],
    ["a delay of zero", ["--delay", "0"], DELAY],
    ["a delay above 4 seconds", ["--delay", "4.1"], DELAY],
    ["an empty delay", ["--delay="], DELAY],
    ["a limit of zero requests", ["--busy", "0"], BUSY],
    ["half a request", ["--busy", "1.5"], BUSY],
    ["an empty limit of requests", ["--busy="], BUSY],
    ["a folder without a name", ["-d", ""], "--dest: the name of a folder"],
    ["a server that is no URL", ["-s", "example.test"], SERVER],
    ["a server for files", ["-s", "ftp://x.test"], SERVER],
    ["a server for what ends in http", ["-s", "xhttp://x.test/y"], SERVER],
    ["an empty server", ["--server="], SERVER],
    ["a user name", ["-s", "http://me@x.test"], SERVER],
    ["a password", ["-s", "https://:secret@x.test"], SERVER],
    ["a bare ?", ["-s", "http://x.test?"], SERVER],
    ["a bare #", ["-s", "http://x.test#"], SERVER],
    ["a server for --demo", ["--demo", ...server], DEMO],
    ["a server for --delay", ["--delay", "1", ...server], DEMO],
    ["a server for --busy", ["--busy", "1", ...server], DEMO],
  ])("is refused with %s", async (_, args, rule) => {
    const errors = `${rule}\nTry 'bun flags.ts --help'.\n`;
    const expected = { output: "", errors, status: 2, files: {} };
    expect(await run(args)).toEqual(expected);
  });

  test("is refused in one line where parseArgs has three", async () => {
    const { errors, status } = await run(["-t", "-5"]);
    expect(errors).toMatch(/^.*'-t'.*\nTry 'bun flags.ts --help'\.\n$/);
    expect(status).toBe(2);
  });

  test("is refused with a wrong code, which is quoted as typed", async () => {
    using server = await flagServer();
    for (const cc of ["usa", "b", "", "../x", "b1", "ß", "\u212Ae"]) {
      const { errors, status } = await run(["br", cc, "-s", server.url]);
      const line = `not a two-letter country code: "${cc}"\n`;
      expect(errors).toStartWith(line);
      expect(status).toBe(2);
    }
    expect(server.asked).toEqual([]);
  });

  test("is refused with a folder that cannot be made", async () => {
    using server = await flagServer();
    const cwd = folder();
    fs.writeFileSync(join(cwd, "file"), "");
    const ran = await run(["br", "-s", server.url, "-d", "file/x"], { cwd });
    expect(ran).toMatchObject({ output: "", status: 2 });
    expect(ran.errors).toStartWith("ENOTDIR: ");
    expect(ran.errors).toContain(", mkdir 'file/x'\n");
    expect(server.asked).toEqual([]);
  });

  const wrong = ["--help", "-t", "soon", "usa", "-s", "x", "--busy="];
  test.each([[["-h"]], [wrong]])("shows help alone for %j", async (args) => {
    const { output, ...rest } = await run(args);
    expect(output).toStartWith("Usage: bun flags.ts [options] [CC ...]\n");
    expect(output).toMatch(/^(.{0,80}\n)+$/);
    expect(rest).toEqual({ errors: "", status: 0, files: {} });
  });
});

describe.concurrent.skipIf(!POSIX)("the script", () => {
  test("leaves an older flag, and no other file, on a full disk", async () => {
    using server = await flagServer();
    const cwd = project();
    fs.mkdirSync(join(cwd, "flags"));
    fs.writeFileSync(join(cwd, "flags", "BR.gif"), "older");
    // Files are cut at 512 or 1,024 bytes, like on a disk that is full.
    const line = `ulimit -f 1; bun flags.ts -s ${server.url} -d flags br`;
    expect(await screen(line, cwd)).toMatch(
      /^BR: EFBIG: .* 'flags\/BR\.gif\.[-0-9a-f]{36}\.tmp'\n0 of 1 .*\n$/,
    );
    const left = contents(join(cwd, "flags"));
    expect(left).toEqual({ "BR.gif": '5 bytes: "older"' });
  });

  test("saves all flags if three of it run in one folder", async () => {
    const waiting: (() => void)[] = [];
    using server = await flagServer({}, async () => {
      const { promise, resolve } = Promise.withResolvers<void>();
      if (waiting.push(resolve) === 3) waiting.splice(0).forEach((go) => go());
      await promise; // of an answer, until all three have asked
    });
    const dest = folder();
    const args = ["-s", server.url, "-d", dest];
    const runs = [1, 2, 3].map(() => run(args));
    for (const ran of await Promise.all(runs)) {
      expect(ran).toEqual({ ...saves(ALPHABETICAL), files: {} });
    }
    expect(contents(dest)).toEqual(flags(ALPHABETICAL, "."));
  });

  test("ends at once and without a word on Ctrl-C", async () => {
    using server = await flagServer({ us: () => {} });
    const child = start(["br", "us", "-t", "30", "-s", server.url]);
    const reader = (child.stdout as ReadableStream).getReader();
    const output = `${Buffer.from((await reader.read()).value ?? "")}`;
    const killed = performance.now();
    child.kill("SIGINT");
    await child.exited;
    const seen = [output, await child.stderr.text(), child.signalCode];
    expect(seen).toEqual(["BR ", "", "SIGINT"]);
    expect(performance.now() - killed, "ms").toBeLessThan(4000);
  });

  test.each([
    ["has gone", "{ RUN; } | head -c 3", "BD "],
    ["stops and goes", "{ head -c 65536 /dev/zero; RUN; } | sleep 0.5", ""],
  ])("saves all, silently, if its reader %s", async (_, line, shown) => {
    const cwd = project();
    const runs = "bun flags.ts --demo; echo $? >status";
    expect(await screen(line.replace("RUN", runs), cwd)).toBe(shown);
    expect(fs.readdirSync(join(cwd, "demo"))).toHaveLength(20);
    expect(fs.readFileSync(join(cwd, "status"), "utf8")).toBe("0\n");
  });

  const hasFull = fs.existsSync("/dev/full");
  test.skipIf(!hasFull)("goes on if its output is full", async () => {
    const stdout = Bun.file("/dev/full");
    const ran = await run(["--demo", "br", "ch", "us"], { stdout });
    expect(ran.errors).toMatch(/^CH: HTTP 404 .*\n$/);
    expect(ran.status).toBe(1);
    expect(Object.keys(ran.files)).toEqual(["demo/BR.gif", "demo/US.gif"]);
  });
});

describe.concurrent("imported", () => {
  test("it does nothing", async () => {
    const ran = await runSibling('import "./flags.ts";');
    expect(ran).toEqual({ output: "", errors: "", status: 0, files: {} });
  });

  const node = Bun.which("node");
  test.skipIf(!node)("it has its constants for Node, too", async () => {
    const code = fs.readFileSync(FLAGS_TS, "utf8");
    const older = code.replace(/^ *using /gm, "const "); // as Node 20 knows it
    const js = new Bun.Transpiler({ loader: "ts" }).transformSync(older);
    const main = 'import("./f.mjs").then((it) => console.log(it.BASE_URL));';
    const cwd = project({ "f.mjs": js, "main.mjs": main });
    const shown = await screen("node main.mjs", cwd);
    expect(shown).toBe(`${BASE_URL}\n`);
  });

  test("it has the constants of the book", () => {
    const baseUrl = "https://www.fluentpython.com/data/flags";
    const expected = [baseUrl, "downloaded", 6100];
    expect<unknown[]>([BASE_URL, DEST_DIR, TIMEOUT_MS]).toEqual(expected);
    const codes = "CN IN US ID BR PK NG BD RU JP MX PH VN ET EG DE IR TR CD FR";
    expect(POP20_CC.join(" ")).toBe(codes);
  });
});

describe.concurrent("saveFlag", () => {
  test("saves in a new folder, for all to read, in the place of an older file", async () => {
    const destDir = join(folder(), "new");
    await saveFlag(image("us"), "BR.gif", { destDir });
    await saveFlag(image("br"), "BR.gif", { destDir });
    expect(contents(destDir)).toEqual(flags("BR", "."));
    fs.writeFileSync(join(destDir, "other"), "");
    const mode = (name: string) => fs.statSync(join(destDir, name)).mode;
    expect(mode("BR.gif")).toBe(mode("other"));
  });

  test("saves one name many times at once", async () => {
    const destDir = folder();
    const save = () => saveFlag(image("br"), "BR.gif", { destDir });
    await Promise.all(Array.from({ length: 50 }, save));
    expect(contents(destDir)).toEqual(flags("BR", "."));
  });

  test.skipIf(!POSIX)("replaces a file or link as a whole", async () => {
    const destDir = folder();
    fs.writeFileSync(join(destDir, "target"), "precious");
    fs.symlinkSync("target", join(destDir, "BR.gif"));
    await saveFlag(image("br"), "BR.gif", { destDir });
    const expected = { ...flags("BR", "."), target: '8 bytes: "precious"' };
    expect(contents(destDir)).toEqual(expected);
    const older = fs.openSync(join(destDir, "BR.gif"), "r");
    await saveFlag(image("us"), "BR.gif", { destDir });
    expect(tell(fs.readFileSync(older))).toBe(tell(GIF));
    fs.closeSync(older);
  });

  test("throws what the file system throws, once it has cleaned up", async () => {
    const destDir = folder();
    fs.mkdirSync(join(destDir, "BR.gif"));
    const left = (error: { code: string }) => [error.code, contents(destDir)];
    const expected = ["EISDIR", { "BR.gif": "an empty folder" }];
    for (let i = 0; i < 50; i++) {
      const saved = saveFlag(image("br"), "BR.gif", { destDir });
      expect(await saved.catch(left)).toEqual(expected);
    }
    const options = { destDir: FLAGS_TS }; // which is a file
    const saved = saveFlag(image("br"), "BR.gif", options);
    expect((await saved.catch((error) => error)).code).toBe("ENOTDIR");
  });
});

describe.concurrent("getFlag", () => {
  test("returns the bytes of a code in either case", async () => {
    using server = await flagServer();
    for (const cc of ["br", "BR"]) {
      const bytes = await getFlag(cc, { baseUrl: server.url });
      expect(tell(Buffer.from(bytes))).toBe(tell(GIF));
    }
    expect(server.asked).toEqual(Array(2).fill("/flags/br/br.gif"));
  });

  test("throws RangeError for a wrong code, and asks for nothing", async () => {
    using server = await flagServer();
    for (const cc of ["", "B", "B1", "BRA", "br\n", "\u212Ae", "ß", "../x"]) {
      const get = getFlag(cc, { baseUrl: server.url });
      expect(await get.catch((error) => error)).toBeInstanceOf(RangeError);
    }
    expect(server.asked).toEqual([]);
  });

  test("throws what fetch throws", async () => {
    using server = await flagServer({ br: () => {} });
    const start = performance.now();
    const late = getFlag("br", { baseUrl: server.url });
    expect((await late.catch((error) => error)).name).toBe("TimeoutError");
    expect(performance.now() - start, "ms").toBeWithin(6090, 10_000);
    const refused = getFlag("br", { baseUrl: "http://127.0.0.1:1" });
    const error = await refused.catch((error) => error);
    expect(error).toBeInstanceOf(TypeError);
    expect(error.code).toBe("ECONNREFUSED");
  });

  test.each<[string, number, Answer]>([
    ["HTTP 503 Busy", 503, http("503 Busy", "x")],
    ["HTTP 503 Cut", 503, http("503 Cut", "x", ["Content-Length: 99"])],
    ["HTTP 503 Chunk", 503, http("503 Chunk", "zz\r\nx", [CHUNKED])],
    ["not a complete GIF", 200, http("200 OK", PAGE)],
  ])("throws '%s' with its Response, each time", async (words, status, br) => {
    using server = await flagServer({ br });
    for (let i = 0; i < 30; i++) {
      const get = getFlag("br", { baseUrl: server.url });
      const error = await get.catch((error) => error);
      expect(error.message).toBe(`${words}: ${server.url}/br/br.gif`);
      expect(error.cause).toBeInstanceOf(Response);
      expect(error.cause.status).toBe(status);
      expect(error.cause.bodyUsed).toBe(true);
    }
  });

  test("leaves no connection open behind a long 404", async () => {
    const head = http("404 Not Found", "x", ["Content-Length: 1000000"]);
    using server = await flagServer({ br: (socket) => socket.write(head) });
    const options = { baseUrl: server.url, timeoutMs: 30_000 };
    const get = () => getFlag("br", options).catch((error) => error);
    const errors = await Promise.all([get(), get(), get()]);
    const open = () => server.sockets.filter((socket) => !socket.destroyed);
    const end = performance.now() + 20_000;
    while (open().length > 0 && performance.now() < end) await Bun.sleep(5);
    expect(open().length, "connections that are still open").toBe(0);
    expect(errors.map(({ cause }) => cause.status)).toEqual([404, 404, 404]);
  });
});

describe.concurrent("what siblings import", () => {
  test("downloadOne saves a code as given, and shows all errors", async () => {
    using server = await flagServer();
    const ran = await runSibling(`
      import { downloadOne, getFlag } from "./flags.ts";
      const options = { destDir: "flags" };
      const get: typeof getFlag = async (cc, given) => {
        if (given !== options) throw "other options";
        if (cc === "CN") throw "no Error";
        if (cc === "us") return Buffer.from("any bytes");
        if (cc === "DE") throw Object.assign(Error("no URL"), { code: "X" });
        return getFlag(cc === "../X" ? "BR" : cc, { baseUrl: "${server.url}" });
      };
      for (const cc of ["BR", "us", "CN", "DE", "../X"]) {
        console.log(await downloadOne(cc, options, get));
      }`);
    const output = "BR true\nus true\n\nfalse\nfalse\n../X true\n";
    const errors = "CN: no Error\nDE: no URL\n";
    const us = '9 bytes: "any bytes"';
    const own = { "flags/us.gif": us, "flags/X.gif": tell(GIF) };
    const files = { ...flags("BR", "flags"), ...own };
    expect(ran).toEqual({ output, errors, status: 0, files });
  });

  test("downloadMany sorts codes, counts, and hands on `get`", async () => {
    using server = await flagServer();
    const ran = await runSibling(`
      import { downloadMany, getFlag } from "./flags.ts";
      const codes = Object.freeze(["US", "BR", "VN", "CN"]); // stays as it is
      const options = { baseUrl: "${server.url}", destDir: "flags" };
      const get: typeof getFlag = async (cc, options) => {
        if (cc === "CN") throw new Error("not today");
        return getFlag(cc, options);
      };
      console.log(await downloadMany(codes, options, get));`);
    const files = flags("BR US VN", "flags");
    const [output, errors] = ["BR \nUS VN 3\n", "CN: not today\n"];
    expect(ran).toEqual({ output, errors, status: 0, files });
  });

  test("showCode and showFailure show as downloadOne does", async () => {
    const { output, errors } = await runSibling(`
      import { showCode, showFailure } from "./flags.ts";
      showCode("BR"), showCode("CN"), showFailure("DE", new Error("gone"));
      showFailure("EG", "too"), showCode("VN");`);
    expect([output, errors]).toEqual(["BR CN \nVN ", "DE: gone\nEG: too\n"]);
  });

  test("explain says anything in one line", () => {
    const two = new Error("two\nlines\u2028or\u0007three\u202e.\u2029");
    expect(explain(two)).toBe("two lines or three . ");
    const file = Object.assign(new Error("EIO: 'x  y'"), { path: "x  y" });
    expect(explain(file)).toBe("EIO: 'x  y'");
    expect(explain(new TypeError("a bug"))).toBe("a bug");
    expect(explain("words")).toBe("words");
    expect(explain(null)).toBe("null");
  });

  test("all options may be left out", async () => {
    using proxy = await flagServer({}, () => {
      proxy.sockets.at(-1)!.end(http("502 Bad Gateway"));
    });
    const code = `
      import { downloadMany, downloadOne, getFlag, saveFlag } from "./flags.ts";
      await getFlag("br").catch(() => {});
      await downloadOne("IN");
      await downloadMany(["US"]);
      await saveFlag(new Uint8Array([1, 2, 3]), "x.gif");`;
    const env = { HTTPS_PROXY: proxy.origin };
    const { errors, files } = await runSibling(code, [], env);
    expect(errors).toMatch(/^IN: .* 502 Bad .*\nUS: .* 502 Bad .*\n$/);
    expect(proxy.asked).toEqual(Array(3).fill("www.fluentpython.com:443"));
    expect(Object.keys(files)).toEqual([join(DEST_DIR, "x.gif")]);
  });

  const [baseUrl, destDir] = ["http://x.test/y", join("a", "b")];
  const ARGS = ["us", "br", "-t", "0.0015", "-d", destDir, "-s", baseUrl];
  test.each([
    [[], POP20_CC, { BASE_URL, DEST_DIR, TIMEOUT_MS }],
    [ARGS, ["US", "BR"], { baseUrl, destDir, timeoutMs: 1.5 }],
  ])("main makes the folder and reads %j", async (args, codes, options) => {
    const code = `import { main } from "./flags.ts";
      await main(async (...given) => {
        console.error(JSON.stringify(given));
        return given[0].length;
      }, ${JSON.stringify(args)});`;
    const { errors, files } = await runSibling(code);
    const [baseUrl, destDir, timeoutMs] = Object.values(options);
    const given = [codes, { baseUrl, destDir, timeoutMs }];
    expect(errors).toBe(`${JSON.stringify(given)}\n`);
    expect(files).toEqual({ [`${destDir}`]: "an empty folder" });
  });

  test("main times the downloader, not what comes before", async () => {
    const ran = await runSibling(`import { main } from "./flags.ts";
      const codes = Array(1_000_000).fill("br"); // take a while to read
      await main(async () => 1, codes);`);
    expect(seconds.get(ran)).toBeLessThan(0.12);
  });

  test("main sets the status 1 if it gets another number", async () => {
    for (const count of ["undefined", "19", "21"]) {
      const ran = await runSibling(`import { main } from "./flags.ts";
        await main(async () => ${count});`);
      expect(ran.output).toBe(`${count} of 20 downloads in #s\n`);
      expect(ran.status).toBe(1);
    }
  });

  test("main names the script that was run, and can be called twice", async () => {
    const { output, errors } = await runSibling(`
      import { downloadMany, main } from "./flags.ts";
      await main(downloadMany, ["--demo", "br"]);
      await main(downloadMany, ["--demo", "ch"]);
      await main(downloadMany, ["--help"]);
      await main(downloadMany, ["-t", ""]);`);
    expect(output).toMatch(
      /^BR \n1 downloads in .*s\n0 of 1 downloads in .*s\nUsage: bun sibling.ts /,
    );
    expect(errors).toEndWith("\nTry 'bun sibling.ts --help'.\n");
  });
});

const README = join(import.meta.dir, "README.md");
describe.concurrent.skipIf(!fs.existsSync(README))("README.md", () => {
  const readme = fs.existsSync(README) ? fs.readFileSync(README, "utf8") : "";
  function blocks(language: string): string[] {
    const fence = RegExp(`^\`\`\`${language}\n(.*?)^\`\`\``, "gms");
    return [...readme.matchAll(fence)].map(([, block]) => block!);
  }
  const named = blocks("ts").map((block) => {
    const [, name = "no name"] = /^\/\/ (\w+\.ts) /.exec(block) ?? [];
    return [name, block] as const;
  });
  const scripts = Object.fromEntries(named);

  const manifest = join(import.meta.dir, "package.json");
  const json = fs.existsSync(manifest) ? fs.readFileSync(manifest, "utf8") : "";
  test.skipIf(!json)("has scripts that `bun run lesson` writes", async () => {
    const cwd = project({ "README.md": readme, "package.json": json });
    const shown = await screen("bun run lesson && bun . --demo br", cwd);
    const all = fs.readdirSync(cwd).filter((name) => name.endsWith(".ts"));
    const names = [...Object.keys(scripts), "flags.ts"];
    expect(all.sort(), shown).toEqual(names.sort());
    for (const [name, code] of named) {
      expect(fs.readFileSync(join(cwd, name), "utf8")).toBe(code);
    }
    expect(fs.readdirSync(join(cwd, "demo"))).toEqual(["BR.gif"]);
  });

  /** What all runs of a command have in common, whatever chance does. */
  function digest(command: string, output: string) {
    const inOrder = command.includes("flags.ts");
    const sorted = (codes: string) => codes.split(" ").sort().join(" ");
    const rows = [...output.matchAll(/^[a-z]{2} ( *)([█░ ]*█)$/gm)];
    const bars = rows.map(([, { length: from } = "", bar]) => {
      return { from, to: from + bar!.length };
    });
    const atOnce = bars.map(({ from }) => {
      return bars.filter((bar) => bar.from <= from && from < bar.to).length;
    });
    const text = output
      .replace(/^[a-z]{2} [█░ ]*█$/gm, "(a row of the chart)")
      .replace(/^([A-Z]{2} ?)+$/gm, inOrder ? String : sorted)
      .replace(/\d\.\d\ds$|:\d{4,5}|\d+ ms/gm, "#");
    const failures = output.includes("░");
    return { text, failures, atOnce: failures || Math.max(0, ...atOnce) };
  }

  const first = `$ ${blocks("sh")[0]}${blocks("text")[0]}`;
  const shown = [first, ...blocks("console")].flatMap((block) =>
    [...block.matchAll(/^\$ (.*)\n((?:(?!\$ ).*\n)*)/gm)].map(
      ([, command, output]) => [command!, output!] as const,
    ),
  );
  test.each(shown)("shows what '%s' prints", async (command, output) => {
    const real = (await screen(command, project(scripts))).replace(/ +$/gm, "");
    expect(digest(command, real)).toEqual(digest(command, output));
  });

  test("has seconds that fit the delay of the demo", () => {
    for (const [command, output] of shown) {
      if (/--help|retry/.test(command)) continue;
      const [given = ""] = /( [a-z]{2})+$/.exec(command) ?? [];
      const codes = given.length / 3 || POP20_CC.length;
      const lines = output.match(/(?<= in )\d\.\d\d(?=s$)/gm) ?? [];
      const [, n = "1"] = /bounded\.ts (\d+)/.exec(command) ?? [];
      const ns = command.includes("concurrent") ? [codes] : [n, 5, codes];
      lines.forEach((line, i) => {
        const rounds = Math.ceil(codes / Number(ns[i]));
        expect(Number(line), command).toBeWithin(0.06 * rounds, 0.161 * rounds);
      });
    }
  });

  test("has the loop and the first example of flags.ts", () => {
    const source = fs.readFileSync(FLAGS_TS, "utf8").replace(/^ \* ?/gm, "");
    const [, loop = "no loop"] = /^`(for .*?)`/m.exec(readme) ?? [];
    const hasLoop = source.replace(/\s+/g, " ").includes(loop);
    expect(hasLoop, `flags.ts has ${loop}`).toBe(true);
    const [, example = ""] = /--demo\n(.*?)^```/ms.exec(source) ?? [];
    const output = digest("flags.ts", blocks("text")[0]!);
    expect(digest("flags.ts", example)).toEqual(output);
  });

  test("has a bounded.ts that asks for N at a time, or for 5", async () => {
    const script = join(project(scripts), "bounded.ts");
    const status = async (...args: string[]) =>
      (await run([...args, "--delay", "0.5"], { script })).status;
    expect(await status("--busy", "5")).toBe(0);
    expect(await status("--busy", "4")).toBe(1);
    expect(await status("3", "--busy", "2")).toBe(1);
  });

  test("has a retry.ts that tries again after a timeout or a 503, for over a second", async () => {
    const [busy, flag] = [http("503 Busy"), http("200 OK", GIF)];
    const asked = (cc: string) =>
      server.asked.filter((path) => path.endsWith(`${cc}.gif`)).length;
    using server = await flagServer({
      br: (socket) => socket.write(asked("br") < 3 ? busy : flag),
      cn: http("404 No"),
      de: (socket) => socket.write(busy),
      us: (socket) => asked("us") > 1 && socket.write(flag),
    });
    const script = join(project(scripts), "retry.ts");
    const args = ["br", "cn", "de", "us", "-t", "1", "-s", server.url];
    const ran = await run(args, { script });
    expect(ran.output).toEndWith("2 of 4 downloads in #s\n");
    expect(ran.errors).toMatch(/^CN: HTTP 404 .*\nDE: HTTP 503 .*\n$/);
    expect(["br", "cn", "de", "us"].map(asked)).toEqual([3, 1, 6, 2]);
    expect(seconds.get(ran)).toBeWithin(1.5, 30);
  });

  const CI = join(import.meta.dir, ".ci", "run");
  test.skipIf(!fs.existsSync(CI))("names the Bun and the tests of CI", () => {
    const { devDependencies, engines } = JSON.parse(json);
    for (const text of [readme, fs.readFileSync(CI, "utf8")]) {
      const calls = text.match(/\b(npx|npm install) .*bun@[^\s`']+/g);
      for (const call of calls ?? ["no call"]) {
        expect(call).toContain(" --allow-scripts=bun ");
        expect(call).toEndWith(` bun@${devDependencies["@types/bun"]}`);
      }
      expect(text).toMatch(/^(.* && )?bun test\b/m);
    }
    expect(readme).toContain(engines.bun.replace(">=", ""));
  });

  const types = join(import.meta.dir, "node_modules");
  const hasTypes = fs.existsSync(join(types, "@types", "bun"));
  test.skipIf(!hasTypes)("has settings for strict type checks", async () => {
    const [, advice = ""] =
      /can check the file(.*?)To write/s.exec(readme) ?? [];
    const listed = [...advice.matchAll(/`("\w+": .*?)`/g)].map(([, it]) => it);
    const settings = JSON.parse(`{${listed}}`);
    const strict = `strict exactOptionalPropertyTypes noUnusedLocals
      noUnusedParameters noUncheckedIndexedAccess noImplicitReturns
      noPropertyAccessFromIndexSignature erasableSyntaxOnly isolatedModules`;
    for (const name of strict.split(/\s+/)) settings[name] = true;
    const config = JSON.stringify({ compilerOptions: settings });
    const cwd = project({ ...scripts, "tsconfig.json": config });
    fs.symlinkSync(types, join(cwd, "node_modules"), "junction");
    const shown = await screen("bun check 2>&1 | cat", cwd);
    const lines = [expect.stringMatching(/^✓ No type errors /), ""];
    expect(shown.split("\n")).toEqual(lines);
  });
});
