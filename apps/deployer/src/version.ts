/** Version of the three programs; the same as in the root package.json. */
export const version = '0.1.0';
