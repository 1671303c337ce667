/** Milliseconds of the one clock that all processes of a machine share and that nobody sets. */
export function machineNow(): number {
  return Number(process.hrtime.bigint()) / 1e6;
}
