// starter for real boards. twin.py, one folder up, is the same application for virtual ones.

#include "Particle.h"

SYSTEM_MODE(AUTOMATIC);
PRODUCT_VERSION(1);

static int sum = 0;

static int add(String argument) {
    sum += argument.toInt();
    Particle.publish("starter/sum", String(sum));
    return sum;
}

void setup() {
    Particle.function("add", add);
    Particle.variable("sum", sum);
}

void loop() {
}
