"""Data-parallel training with tf.distribute and Keras 3. Nothing here imports Ray."""
