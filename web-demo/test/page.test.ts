// The built page in a real Chromium: one load of it for all that can be done there.

import { looking } from "./locate-tests.ts";
import { fitting } from "./layout-tests.ts";
import { useOnePage } from "./visit.ts";
import { playing } from "./game-tests.ts";

const visit = useOnePage();
looking(visit);
playing(visit);
fitting(visit);
