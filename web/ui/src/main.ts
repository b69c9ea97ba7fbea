import { applyTheme } from "./prefs";
import "./app";

applyTheme();
