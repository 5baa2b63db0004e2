"""The data-parallel training loop: tf.distribute and Keras 3, nothing of Ray."""
