/** What the commands answer to the shell. Documented in docs/reference/errors.md. */
export const exitCodes = {
  done: 0,
  error: 1,
  /** `plan --detailed-exitcode`: a deploy would change something. */
  changesPending: 2,
  /** Another process works on this environment. */
  locked: 3,
  /** `drift`: the cloud or the agent contradicts the state. */
  drift: 4,
  cancelled: 130,
} as const;

export type ExitCode = (typeof exitCodes)[keyof typeof exitCodes];

/** The exit code of a failure, by its error code. */
export function exitCodeOf(errorCode: string | undefined): ExitCode {
  switch (errorCode) {
    case 'E_CANCELLED':
      return exitCodes.cancelled;
    case 'E_LOCKED':
      return exitCodes.locked;
    default:
      return exitCodes.error;
  }
}
