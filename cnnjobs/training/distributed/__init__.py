"""Data-parallel training with tf.distribute and Keras 3; nothing here imports Ray."""
