"""The console in a real Chromium, over a real server, with engines that say what a test wrote down."""
