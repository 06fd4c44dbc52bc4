// The commands that the clients send.

import org.apache.avro.Schema;
import org.apache.avro.generic.GenericRecord;
import org.apache.avro.generic.GenericRecordBuilder;

public final class Commands {
    private Commands() {}

    /** Gives a customer, named by its external id, a new custom name. */
    public static GenericRecord customName(Schema schema, String requestId, String externalId, String name) {
        // A field such as `customer` is a union of null and a record.
        Schema reference = schema.getField("customer").schema().getTypes().get(1);
        return new GenericRecordBuilder(schema)
            .set("requestId", requestId)
            .set("customer", new GenericRecordBuilder(reference).set("externalId", externalId).build())
            .set("customName", name)
            .build();
    }
}
