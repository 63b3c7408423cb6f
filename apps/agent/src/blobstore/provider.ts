/** Where blobs are kept beyond this machine, or on it (`local`). */
export interface BlobProvider {
  /** Fetches blob `id` into a new file. */
  get(id: string, path: string, signal?: AbortSignal): Promise<void>;
  /** Stores a finished file under a new id. */
  put(path: string, id: string, signal?: AbortSignal): Promise<void>;
  /** Whether `id` is there; undefined when the provider cannot tell. */
  has(id: string, signal?: AbortSignal): Promise<boolean | undefined>;
}
