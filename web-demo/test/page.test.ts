// The built page in a real Chromium. All tests share one page load.

import { locateTests } from "./locate-tests.ts";
import { layoutTests } from "./layout-tests.ts";
import { useOnePage } from "./visit.ts";
import { gameTests } from "./game-tests.ts";

const visit = useOnePage();
locateTests(visit);
gameTests(visit);
layoutTests(visit);
