"""What all contenders of `compare` have in common beside their sizes."""

# Size of the vector that modulates the layers.
CONDITION = 128
LEARNING_RATE = 3e-4
EMA_DECAY = 0.9999
