/** The types of usage.mjs. */
export function helped(args: readonly string[], usage: string): number | undefined;
export function misused(command: string, problem: string, usage: string): number;
