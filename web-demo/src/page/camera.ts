// The rear camera: live video, still frames and error messages.

/** The camera is not available; the message is written for the user. */
export class CameraError extends Error {}

const ERROR_MESSAGES: Record<string, string> = {
  NotAllowedError: "Camera access was denied: allow it for this page in the browser's settings, or choose a photo.",
  NotFoundError: "No camera was found on this device: choose a photo instead.",
  OverconstrainedError: "No camera was found on this device: choose a photo instead.",
  NotReadableError: "The camera is in use by another app: close that app and try again, or choose a photo.",
  AbortError: "The camera is in use by another app: close that app and try again, or choose a photo.",
};
const INSECURE_CONTEXT_MESSAGE =
  "The camera is available on secure pages only: open this page at its https address, or choose a photo.";

export class Camera {
  private stream: MediaStream | null = null;

  constructor(private readonly video: HTMLVideoElement) {}

  /** Shows the camera in the video element. `onEnd` is called if the camera is disconnected. */
  async open(onEnd: () => void): Promise<void> {
    // Undefined on insecure pages.
    const devices = navigator.mediaDevices as MediaDevices | undefined;
    if (!isSecureContext || !devices) throw new CameraError(INSECURE_CONTEXT_MESSAGE);
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
      throw new CameraError(ERROR_MESSAGES[name] ?? "The camera could not be opened: try again, or choose a photo.");
    }
  }

  close(): void {
    for (const track of this.stream?.getTracks() ?? []) track.stop();
    this.stream = null;
    this.video.srcObject = null;
  }

  /** The current frame. */
  async captureFrame(): Promise<ImageBitmap> {
    return createImageBitmap(this.video);
  }

  /** The current frame as a JPEG image. */
  async captureJpeg(): Promise<Blob> {
    const { videoWidth, videoHeight } = this.video;
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [videoWidth, videoHeight];
    canvas.getContext("2d")?.drawImage(this.video, 0, 0);
    const blob = await new Promise<Blob | null>((done) => canvas.toBlob(done, "image/jpeg", 0.92));
    if (!blob) throw new CameraError("The camera returned no image: try again in a moment.");
    return blob;
  }
}
