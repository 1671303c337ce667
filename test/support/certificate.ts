import { execFile } from "node:child_process";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";

import { need } from "./prerequisites.js";

/** A new key and its certificate for `localhost`, in PEM format. */
export async function makeCertificate(context: Mocha.Context): Promise<{ key: Buffer; cert: Buffer }> {
  const openssl = await need("openssl", context);
  const folder = await mkdtemp(join(tmpdir(), "redis-sse-test-"));
  const [key, cert] = [join(folder, "key.pem"), join(folder, "cert.pem")];
  try {
    const subject = ["-subj", "/CN=localhost", "-days", "1"];
    const files = ["-keyout", key, "-out", cert];
    await promisify(execFile)(openssl, [
      "req",
      "-x509",
      "-newkey",
      "rsa:2048",
      "-nodes",
      ...subject,
      ...files,
    ]);
    return { key: await readFile(key), cert: await readFile(cert) };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
