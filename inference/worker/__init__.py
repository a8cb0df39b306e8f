"""Engine side only: replicas and the engines that they host. Web processes may never import it (L6)."""
