// The lite build of exifr, which reads GPS coordinates from JPEG and HEIC files.

declare module "exifr/dist/lite.esm.mjs" {
  export { gps } from "exifr";
}
