// The rear camera: opened when asked for, a still frame of it, and why it could not be had.

/** A camera that cannot be had, in a sentence. */
export class CameraError extends Error {}

const WHY: Record<string, string> = {
  NotAllowedError: "The camera was refused: allow it for this page in the browser's settings, or choose a photo.",
  NotFoundError: "No camera was found on this device: choose a photo instead.",
  OverconstrainedError: "No camera was found on this device: choose a photo instead.",
  NotReadableError: "The camera is in use by another app: close that one and try again, or choose a photo.",
  AbortError: "The camera is in use by another app: close that one and try again, or choose a photo.",
};
const INSECURE = "Browsers open the camera on secure pages only: open this page by its https address, or choose a photo.";

export class Camera {
  private stream: MediaStream | null = null;

  constructor(private readonly video: HTMLVideoElement) {}

  /** Shows the camera in the video element. `onEnd` is called when the camera goes away by itself. */
  async open(onEnd: () => void): Promise<void> {
    // Where a page is not secure there is no such object.
    const devices = navigator.mediaDevices as MediaDevices | undefined;
    if (!isSecureContext || !devices) throw new CameraError(INSECURE);
    try {
      this.stream = await devices.getUserMedia({
        audio: false,
        video: { facingMode: { ideal: "environment" }, width: { ideal: 1920 }, height: { ideal: 1080 } },
      });
      this.stream.getVideoTracks()[0]?.addEventListener("ended", onEnd);
      this.video.srcObject = this.stream;
      await this.video.play();
    } catch (error) {
      this.close();
      const name = error instanceof DOMException ? error.name : "";
      throw new CameraError(WHY[name] ?? "The camera could not be opened: try again, or choose a photo.");
    }
  }

  close(): void {
    for (const track of this.stream?.getTracks() ?? []) track.stop();
    this.stream = null;
    this.video.srcObject = null;
  }

  /** The frame that is shown now. */
  async frame(): Promise<ImageBitmap> {
    return createImageBitmap(this.video);
  }

  /** The frame that is shown now as a JPEG picture. */
  async still(): Promise<Blob> {
    const { videoWidth, videoHeight } = this.video;
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [videoWidth, videoHeight];
    canvas.getContext("2d")?.drawImage(this.video, 0, 0);
    const blob = await new Promise<Blob | null>((done) => canvas.toBlob(done, "image/jpeg", 0.92));
    if (!blob) throw new CameraError("The camera gave no picture: try again in a moment.");
    return blob;
  }
}
