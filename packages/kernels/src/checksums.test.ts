import fc from "fast-check";
import { expect, test } from "vitest";
import { crc32c, xxh64 } from "./index.ts";
import { crc32c as plainCrc32c } from "./twins/crc32c.ts";
import { xxh64 as plainXxh64 } from "./twins/xxh64.ts";

const anyBytes = fc.uint8Array({ maxLength: 3000, size: "max" });

test("CRC-32C of the RFC 3720 vectors", () => {
  const ascending = Uint8Array.from({ length: 32 }, (_, i) => i);
  expect(crc32c(new Uint8Array(32)).toString(16)).toBe("8a9136aa");
  expect(crc32c(ascending).toString(16)).toBe("46dd794e");
  expect(crc32c(new Uint8Array(Buffer.from("123456789"))).toString(16)).toBe("e3069283");
});

test("the CRC-32C kernel equals its twin, in one go and in two", () =>
  fc.assert(
    fc.property(anyBytes, fc.nat(), (bytes, at) => {
      const cut = at % (bytes.length + 1);
      const want = plainCrc32c(bytes);
      expect(crc32c(bytes)).toBe(want);
      expect(crc32c(bytes.subarray(cut), crc32c(bytes.subarray(0, cut)))).toBe(want);
    }),
  ));

test("XXH64 of known strings", () => {
  const of = (text: string) => xxh64(new Uint8Array(Buffer.from(text))).toString(16);
  expect(of("")).toBe("ef46db3751d8e999");
  expect(of("a")).toBe("d24ec4f1a98c6e5b");
  expect(of("abc")).toBe("44bc2cf5ad770999");
});

test("the XXH64 kernel equals its twin", () =>
  fc.assert(
    fc.property(anyBytes, (bytes) => {
      expect(xxh64(bytes)).toBe(plainXxh64(bytes));
    }),
  ));
