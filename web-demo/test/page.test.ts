// The built page in a real Chromium: one load of it for all that can be done there.

import { looking } from "./look.ts";
import { fitting } from "./looks.ts";
import { useOnePage } from "./page.ts";
import { playing } from "./play.ts";

const visit = useOnePage();
looking(visit);
playing(visit);
fitting(visit);
