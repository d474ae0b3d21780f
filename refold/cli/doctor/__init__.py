"""`refold doctor`: what is wrong in a deployment, and what to do about it. It changes nothing."""
