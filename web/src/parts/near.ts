import { useEffect, useState, type RefObject } from "react";

/** Whether an element has come near to what is seen, and stayed for a while; once near, always near. */
export function useNear(ref: RefObject<Element | null>, marginPx: number, stayMs: number): boolean {
  const [isNear, setNear] = useState(false);
  useEffect(() => {
    const element = ref.current;
    if (isNear || !element) return;
    let timer: ReturnType<typeof setTimeout> | undefined;
    const observer = new IntersectionObserver((entries) => {
      clearTimeout(timer);
      if (!entries.at(-1)!.isIntersecting) return;
      if (stayMs === 0) setNear(true);
      else timer = setTimeout(() => setNear(true), stayMs);
    }, { rootMargin: `${marginPx}px 0px` });
    observer.observe(element);
    return () => {
      clearTimeout(timer);
      observer.disconnect();
    };
  }, [isNear, marginPx, ref, stayMs]);
  return isNear;
}
