import { describe, expect, test } from "vitest";
import { BcryptHashError, bcryptMatches, parseBcrypt } from "./bcrypt.ts";

/** Made by libxcrypt's crypt(3); the last two are of OpenBSD's test vectors. */
const HASHES: [password: string, hash: string][] = [
  ["", "$2b$04$kMm24AVDDH68NT/Mc0HeTu9QON6yIvL2LKJGiqIGHGI8UZRHbwgNe"],
  ["secret", "$2b$05$q3aQjzo7JThwulhA2KPme./jOCeSBqqH5sdF7npAzqnWjPeBmFQeq"],
  ["pässwörd-🔑", "$2b$04$RlODX0Cthpldem7sZ6Ak6.5Aowk3BxsfOO55BzrkMTRxuelF0oT6y"],
  ["x".repeat(72), "$2b$04$PG.ZcG4bHu6pXNXxw142ueZU37Jc1t0YZeCVqUGN5oEl2axJqY6CW"],
  ["x".repeat(80), "$2b$04$GSfX1MdV6tqQ8IJlYjTRzOlkS63g3So9OtegJU9kYhe3vYhSoyB9W"],
  ["U*U", "$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW"],
  ["", "$2a$06$DCq7YPn5Rq63x1Lad4cll.TV4S6ytwfsfvkgY8jIucDrjc8deX1s."],
];

describe("a password", () => {
  test.each(HASHES)("%j fits its hash %s, and no other does", async (password, hash) => {
    expect(await bcryptMatches(password, hash)).toBe(true);
    expect(await bcryptMatches(`y${password}`, hash)).toBe(false);
    expect(
      await bcryptMatches(
        password,
        hash.replace(/.$/, (c) => (c === "a" ? "e" : "a")),
      ),
    ).toBe(false);
  });
});

test("the event loop turns while a hash is computed", async () => {
  let turns = 0;
  const timer = setInterval(() => turns++, 0);
  await bcryptMatches("secret", "$2b$09$q3aQjzo7JThwulhA2KPme./jOCeSBqqH5sdF7npAzqnWjPeBmFQeq");
  clearInterval(timer);
  expect(turns).toBeGreaterThan(2);
});

test.each(["", "secret", "$2b$31$".padEnd(60, "a"), "$1$05$".padEnd(60, "a"), "$2b$05$short"])(
  "%j is no hash that is taken",
  (text) => {
    expect(() => parseBcrypt(text)).toThrow(BcryptHashError);
  },
);
