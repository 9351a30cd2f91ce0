// The smaller build of exifr, which knows JPEG and HEIC and the place in them.

declare module "exifr/dist/lite.esm.mjs" {
  export { gps } from "exifr";
}
