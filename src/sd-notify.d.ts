// SPDX-License-Identifier: MIT
// sd-notify has no types of its own. A CommonJS module: under import() all of it is in `default`.

declare module 'sd-notify' {
  const sdNotify: import('./systemd.js').SdNotify;
  export default sdNotify;
}
