"""Events as HTTP requests: signed, in order, and repeated until the receiver has accepted them."""
