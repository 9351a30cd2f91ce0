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

/** Time in milliseconds after which the browser's question for the camera is pointed out. */
const QUESTION_MS = 1000;
/** Side in pixels of the copy of a frame that is checked for blackness. */
const SAMPLE_SIDE = 16;
/** Maximum value of all channels of a black pixel. Cameras in the dark have noise above it. */
const BLACK = 2;

export class Camera {
  private stream: MediaStream | null = null;

  constructor(private readonly video: HTMLVideoElement) {}

  /**
   * Shows the camera in the video element. `onEnd` is called if the camera is disconnected, `onWait` if the person has
   * not answered the browser's question after a second.
   */
  async open(onEnd: () => void, onWait: () => void): Promise<void> {
    // Undefined on insecure pages.
    const devices = navigator.mediaDevices as MediaDevices | undefined;
    if (!isSecureContext || !devices) throw new CameraError(INSECURE_CONTEXT_MESSAGE);
    const waiting = setTimeout(onWait, QUESTION_MS);
    try {
      this.stream = await devices.getUserMedia({
        audio: false,
        video: { facingMode: { ideal: "environment" }, width: { ideal: 1920 }, height: { ideal: 1080 } },
      });
      this.track?.addEventListener("ended", onEnd);
      this.video.srcObject = this.stream;
      // Resolves with the first frame, which may take seconds.
      this.video.play().catch(() => undefined);
    } catch (error) {
      this.close();
      const name = error instanceof DOMException ? error.name : "";
      throw new CameraError(ERROR_MESSAGES[name] ?? "The camera could not be opened: try again, or choose a photo.");
    } finally {
      clearTimeout(waiting);
    }
  }

  private get track(): MediaStreamTrack | undefined {
    return this.stream?.getVideoTracks()[0];
  }

  /** Why there is no frame to locate at the moment, as a sentence; `null` if there is one. */
  get blocked(): string | null {
    // A system mutes the camera while another app uses it, and sends black frames.
    if (this.track?.muted) return "The camera is paused: close other apps that use it.";
    if (this.video.readyState < HTMLMediaElement.HAVE_CURRENT_DATA || !this.video.videoWidth)
      return "Waiting for the camera's first image…";
    if (this.video.paused) this.video.play().catch(() => undefined);
    return this.isBlack()
      ? "The camera shows nothing but black: uncover the lens, or close the camera and open it again."
      : null;
  }

  /** Whether the current frame is black. */
  private isBlack(): boolean {
    const canvas = document.createElement("canvas");
    canvas.width = canvas.height = SAMPLE_SIDE;
    const context = canvas.getContext("2d", { willReadFrequently: true });
    if (!context) return false;
    context.drawImage(this.video, 0, 0, SAMPLE_SIDE, SAMPLE_SIDE);
    const { data } = context.getImageData(0, 0, SAMPLE_SIDE, SAMPLE_SIDE);
    return data.every((value, i) => i % 4 === 3 || value <= BLACK);
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
    const { blocked } = this;
    if (blocked) throw new CameraError(blocked);
    const { videoWidth, videoHeight } = this.video;
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [videoWidth, videoHeight];
    canvas.getContext("2d")?.drawImage(this.video, 0, 0);
    const blob = await new Promise<Blob | null>((done) => canvas.toBlob(done, "image/jpeg", 0.92));
    if (!blob) throw new CameraError("The camera returned no image: try again in a moment.");
    return blob;
  }
}
