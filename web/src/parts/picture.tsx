// Pictures come with the reader's key, so they are fetched by script and shown as blob: addresses.

import { useEffect, useState, type ReactElement } from "react";

import { api } from "../data/api";
import type { ImagePart } from "../data/events";
import { useSay } from "../words";

const KEPT = 200;
const urls = new Map<string, Promise<string>>();

export function pictureUrl(sha256: string): Promise<string> {
  const known = urls.get(sha256);
  if (known) return known;
  const loading = api.picture(sha256).then((blob) => URL.createObjectURL(blob));
  loading.catch(() => urls.delete(sha256));
  urls.set(sha256, loading);
  const oldest = urls.size > KEPT ? urls.keys().next().value : undefined;
  if (oldest !== undefined) {
    // Shown ones stay: a revoked address only cannot be loaded anew.
    void urls.get(oldest)?.then((url) => URL.revokeObjectURL(url), () => undefined);
    urls.delete(oldest);
  }
  return loading;
}

/** A stored picture. Its place is kept before it has come, so nothing moves when it does. */
export function Picture({ part, alt, className }: { part: ImagePart; alt: string; className?: string }): ReactElement {
  const say = useSay();
  const [url, setUrl] = useState<string | null>(null);
  const [isGone, setGone] = useState(false);
  useEffect(() => {
    let isHere = true;
    setUrl(null);
    setGone(false);
    pictureUrl(part.sha256).then((found) => isHere && setUrl(found), () => isHere && setGone(true));
    return () => {
      isHere = false;
    };
  }, [part.sha256]);
  const shape = { aspectRatio: `${part.width} / ${part.height}` };
  if (isGone) return <span className={`picture-gone ${className ?? ""}`} style={shape}>{say("pictureGone")}</span>;
  if (!url) return <span className={`picture-wait ${className ?? ""}`} style={shape} role="img" aria-label={say("loadingPicture")} />;
  return <img className={className} src={url} alt={alt} width={part.width} height={part.height} style={shape} draggable={false} />;
}
